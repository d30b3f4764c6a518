//! Where things are: the checkout, the private folder `.coreloop`, the fetched tools.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::account::Account;

/// The root of the checkout.
pub(crate) fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    here.canonicalize().with_context(|| format!("the checkout moved since xtask was built ({})", here.display()))
}

/// The private folder of this checkout: data, logs, state. Searchable by others, because servers run as other users;
/// what is secret in it is not readable.
pub(crate) fn private(root: &Path) -> Result<PathBuf> {
    let dir = root.join(".coreloop");
    fs::create_dir_all(dir.join("logs")).with_context(|| format!("{} cannot be made", dir.display()))?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
    Ok(dir)
}

/// The folder of fetched tools.
pub(crate) fn tools(root: &Path) -> Result<PathBuf> {
    let dir = root.join(".tools/bin");
    fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    Ok(dir)
}

/// A data folder that `account` owns and can reach: `.coreloop/<name>`, or, when the checkout lies under a private
/// folder (as /root), a folder under /var/tmp that `.coreloop/<name>` links to.
pub(crate) fn data(root: &Path, name: &str, account: &Account) -> Result<PathBuf> {
    let wanted = private(root)?.join(name);
    if wanted.is_symlink() && !wanted.exists() {
        // The target under /var/tmp was cleaned away: the data is gone.
        fs::remove_file(&wanted)?;
    }
    if wanted.exists() {
        let real = wanted.canonicalize()?;
        if account.reaches(&real) {
            return Ok(real);
        }
        if fs::read_dir(&real)?.next().is_some() {
            bail!(
                "{} belongs to another user than {}: run `cargo xtask up` as the user who made it, or with --fresh",
                real.display(),
                account.name()
            );
        }
        drop_data(&wanted)?;
    }
    fs::create_dir(&wanted)?;
    account.own(&wanted)?;
    if account.reaches(&wanted) {
        return Ok(wanted);
    }
    fs::remove_dir(&wanted)?;
    let real = shelter(root)?.join(name);
    if real.exists() {
        fs::remove_dir_all(&real)?;
    }
    fs::create_dir(&real)?;
    account.own(&real)?;
    if !account.reaches(&real) {
        bail!("user {} can reach neither {} nor {}", account.name(), wanted.display(), real.display());
    }
    symlink(&real, &wanted)?;
    Ok(real)
}

/// Removes a data folder, wherever it really is.
pub(crate) fn drop_data(path: &Path) -> Result<()> {
    if path.is_symlink() {
        let real = fs::read_link(path)?;
        if real.exists() {
            fs::remove_dir_all(&real).with_context(|| format!("{}", real.display()))?;
        }
        // Empty once the last of its folders is gone; otherwise it stays.
        real.parent().map(fs::remove_dir);
        fs::remove_file(path)?;
    } else if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("{}", path.display()))?;
    }
    Ok(())
}

/// This checkout's folder under /var/tmp. Refused when somebody else made one of that name.
fn shelter(root: &Path) -> Result<PathBuf> {
    let digest = hex::encode(Sha256::digest(root.as_os_str().as_encoded_bytes()));
    let dir = Path::new("/var/tmp").join(format!("coreloop-{}", digest.get(..12).unwrap_or_default()));
    if !dir.exists() {
        fs::create_dir(&dir)?;
    }
    let found = fs::symlink_metadata(&dir)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        bail!("{} exists and is not ours; remove it", dir.display());
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o711))?;
    Ok(dir)
}

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_kept_until_dropped() {
        let root = tempfile::tempdir().unwrap();
        let account = Account::Current;
        let first = data(root.path(), "pg", &account).unwrap();
        fs::write(first.join("kept"), "1").unwrap();
        let second = data(root.path(), "pg", &account).unwrap();
        assert_eq!(first.canonicalize().unwrap(), second.canonicalize().unwrap());
        assert!(second.join("kept").exists());
        drop_data(&root.path().join(".coreloop/pg")).unwrap();
        assert!(!root.path().join(".coreloop/pg").exists());
    }

    #[test]
    fn secrets_are_for_their_owner() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("secret");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_secret(&path, "new").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }
}
