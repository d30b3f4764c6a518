//! One `up` at a time in a checkout.
//!
//! The kernel's file lock decides, because it ends with its holder however that ends; the pid in the file only names
//! the holder for messages.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail};

/// Held while `up` runs.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    /// Pid of a holder that ended without cleaning up.
    pub(crate) stale: Option<u32>,
}

impl Lock {
    /// Takes the lock, or says who holds it.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| format!("{} cannot be opened", path.display()))?;
        let mut text = String::new();
        let held = file.try_lock();
        file.read_to_string(&mut text).unwrap_or_default();
        let pid: Option<u32> = text.trim().parse().ok();
        match held {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "`cargo xtask up` already runs in this checkout (pid {}): stop it first, or use the addresses it printed",
                pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string())
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("{}", path.display())),
        }
        let mut lock = Self { file, stale: pid };
        lock.write(&std::process::id().to_string())?;
        Ok(lock)
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An empty file is a holder that cleaned up. The file stays: removing it would race with the next holder.
        let _ = self.write("");
        // Closing it would not do: a process that was started just now holds it too, until it is its own program.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_lock_refuses_and_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("up.lock");
        let held = Lock::take(&path).unwrap();
        assert_eq!(held.stale, None);
        let error = Lock::take(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(held);
        assert_eq!(Lock::take(&path).unwrap().stale, None);
    }

    #[test]
    fn a_stale_lock_is_cleared_and_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("up.lock");
        std::fs::write(&path, "4194000").unwrap();
        assert_eq!(Lock::take(&path).unwrap().stale, Some(4_194_000));
    }
}
