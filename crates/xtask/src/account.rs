//! Whom the servers run as: PostgreSQL refuses root, and a database has no business being root.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

/// A user to run a server as.
#[derive(Debug, Clone)]
pub(crate) enum Account {
    /// Whoever runs xtask.
    Current,
    /// An unprivileged user, taken on because xtask runs as root.
    Other {
        /// Login name.
        name: String,
        /// User id.
        uid: u32,
        /// Primary group.
        gid: u32,
    },
}

impl Account {
    /// The account for a server whose Debian package makes the user `name`; `nobody` where there is none.
    pub(crate) fn unprivileged(name: &str) -> Result<Self> {
        if !is_root() {
            return Ok(Self::Current);
        }
        let users = fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
        [name, "nobody"]
            .iter()
            .find_map(|wanted| entry(&users, wanted))
            .with_context(|| format!("there is neither a user {name} nor nobody to run it as"))
    }

    /// Login name, for messages.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Current => "the current one",
            Self::Other { name, .. } => name,
        }
    }

    /// A command run as this user, sent the signal `death` should xtask die without stopping it.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>, death: &str) -> Command {
        let mut command = Command::new("setpriv");
        if let Self::Other { name, gid, .. } = self {
            command.args([&format!("--reuid={name}"), &format!("--regid={gid}"), "--init-groups", "--reset-env"]);
        }
        // setpriv changes identity first, so that the death signal survives the change.
        command.args(["--pdeathsig", death, "--"]).arg(program).current_dir("/");
        command
    }

    /// Gives a folder to this user, closed to all others.
    pub(crate) fn own(&self, dir: &Path) -> Result<()> {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        self.give(dir)
    }

    /// Gives a file or folder to this user.
    pub(crate) fn give(&self, path: &Path) -> Result<()> {
        if let Self::Other { uid, gid, .. } = self {
            chown(path, Some(*uid), Some(*gid)).with_context(|| format!("chown {}", path.display()))?;
        }
        Ok(())
    }

    /// Whether this user can write into `dir`, every parent included.
    pub(crate) fn reaches(&self, dir: &Path) -> bool {
        self.command("test", "clear")
            .arg("-w")
            .arg(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// Whether xtask runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn entry(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account::Other { name: name.to_owned(), uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgres-old:x:7:7::/:/bin/sh\npostgres:x:104:112:x:/var:/bin/bash\n";
        let Some(Account::Other { uid, gid, .. }) = entry(passwd, "postgres") else { panic!("not found") };
        assert_eq!((uid, gid), (104, 112));
        assert!(entry(passwd, "redis").is_none());
    }

    #[test]
    fn a_folder_is_reached_only_when_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Account::Current.reaches(dir.path()));
        assert!(!Account::Current.reaches(&dir.path().join("absent")));
    }
}
