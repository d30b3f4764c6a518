//! Debian packages that a checkout needs besides the Rust toolchain, installed only when missing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{account, child, progress::Step};

/// Programs of one PostgreSQL version.
#[derive(Debug, Clone)]
pub(crate) struct PostgresPrograms {
    /// Folder with `postgres`, `initdb`, `psql`.
    pub(crate) bin: PathBuf,
    /// Major version.
    pub(crate) major: u32,
}

/// The installed PostgreSQL: of version `major` when a data folder asks for it, else the newest.
pub(crate) fn postgres(logs: &Path, major: Option<u32>) -> Result<PostgresPrograms> {
    if find_postgres(None).is_none() {
        install(&["postgresql"], logs)?;
    }
    if let Some(found) = find_postgres(major) {
        return Ok(found);
    }
    match major {
        Some(major) => bail!(
            "the data in .coreloop was made by PostgreSQL {major}, which is not installed: install postgresql-{major}, or start anew with `cargo xtask up --fresh`"
        ),
        None => bail!("PostgreSQL was installed but /usr/lib/postgresql/*/bin/postgres is not there"),
    }
}

fn find_postgres(major: Option<u32>) -> Option<PostgresPrograms> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .flatten()
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            let complete = ["postgres", "initdb", "psql", "pg_isready"].iter().all(|name| bin.join(name).exists());
            complete.then_some(PostgresPrograms { bin, major: version })
        })
        .filter(|found| major.is_none_or(|wanted| wanted == found.major))
        .max_by_key(|found| found.major)
}

/// The installed Redis server.
pub(crate) fn redis(logs: &Path) -> Result<PathBuf> {
    if let Some(found) = in_path("redis-server") {
        return Ok(found);
    }
    install(&["redis-server"], logs)?;
    in_path("redis-server").context("redis-server was installed but is not in the PATH")
}

/// Whether a program can be called.
pub(crate) fn in_path(program: &str) -> Option<PathBuf> {
    let out = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().ok()?;
    let path = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    (out.status.success() && !path.is_empty()).then(|| PathBuf::from(path))
}

/// Installs both servers, and `others`, in one go where they are missing, which is the usual case on a new machine.
pub(crate) fn ensure_servers(others: &[&'static str], logs: &Path) -> Result<()> {
    let mut missing = Vec::new();
    if find_postgres(None).is_none() {
        missing.push("postgresql");
    }
    if in_path("redis-server").is_none() {
        missing.push("redis-server");
    }
    missing.extend(others.iter().filter(|program| in_path(program).is_none()));
    if missing.is_empty() { Ok(()) } else { install(&missing, logs) }
}

/// Installs what builds the C and C++ of crates that bring some along, librdkafka's above all, where it is missing.
pub(crate) fn ensure_builders(logs: &Path) -> Result<()> {
    let missing: Vec<&str> = ["g++", "make"].into_iter().filter(|program| in_path(program).is_none()).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing, logs) }
}

/// Installs packages, as root or with a sudo that asks nothing; otherwise says exactly what to install.
pub(crate) fn install(packages: &[&str], logs: &Path) -> Result<()> {
    let list = packages.join(" ");
    let by_hand =
        format!("install by hand, then try again:\n    sudo apt-get update && sudo apt-get install -y {list}");
    if in_path("apt-get").is_none() {
        bail!(
            "{list} missing, and this is no Debian (no apt-get): install PostgreSQL 15 or newer and Redis 7 or newer"
        );
    }
    let mut command = if account::is_root() {
        Command::new("sh")
    } else if sudo_is_silent() {
        let mut command = Command::new("sudo");
        command.args(["-n", "sh"]);
        command
    } else {
        bail!("{list} missing, and there is neither root nor a sudo without password; {by_hand}");
    };
    let step = Step::begin(&format!("installing {list}"));
    command.arg("-c").arg(script(packages));
    child::run_logged("the installation", &mut command, &logs.join("apt.log")).with_context(|| by_hand)?;
    step.done("installed");
    Ok(())
}

/// Packages start system-wide servers when installed; these must stay down, because ours are private.
fn script(packages: &[&str]) -> String {
    format!(
        r#"set -e
export DEBIAN_FRONTEND=noninteractive
if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
fi
apt-get -q -o DPkg::Lock::Timeout=300 update
apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends {}
"#,
        packages.join(" ")
    )
}

fn sudo_is_silent() -> bool {
    Command::new("sudo")
        .args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_names_every_package_and_keeps_their_servers_down() {
        let script = script(&["postgresql", "redis-server"]);
        assert!(script.contains("install -y --no-install-recommends postgresql redis-server\n"));
        let policy = script.find("exit 101").unwrap();
        assert!(policy < script.find("install -y").unwrap());
        let syntax = Command::new("sh").args(["-n", "-c", &script]).status().unwrap();
        assert!(syntax.success());
    }

    #[test]
    fn a_program_is_found_or_not() {
        assert!(in_path("sh").is_some());
        assert!(in_path("no-such-program-anywhere").is_none());
    }
}
