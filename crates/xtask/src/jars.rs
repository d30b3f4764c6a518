//! Apache Kafka, as the jars that Maven resolves: fetched into `.tools/` with Maven's own client, checked as a whole.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{child, packages, place, progress::Step};

const VERSION: &str = "3.9.1";
const POM: &str = include_str!("kafka.pom.xml");
/// Of every jar's name and SHA-256, in the order of the names.
const SHA256: &str = "e880b68d15f512c7642e4f4d8448679f9cf65f4447c48247e9f38342afadd487";
/// What copies what the pom names, and all that it needs.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

/// The folder of Kafka's jars, and a Java to run them.
pub(crate) fn kafka(root: &Path) -> Result<PathBuf> {
    place::tools(root)?;
    let (jars, logs) = (root.join(format!(".tools/kafka-{VERSION}")), place::private(root)?.join("logs"));
    if jars.exists() {
        if packages::in_path("java").is_none() {
            packages::install(&["default-jre-headless"], &logs)?;
        }
        return Ok(jars);
    }
    if packages::in_path("mvn").is_none() {
        packages::install(&["maven"], &logs)?;
    }
    let step = Step::begin(&format!("kafka {VERSION}"));
    let work = root.join(format!(".tools/fetch-kafka-{}", std::process::id()));
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    let fetched = download(&work, &logs).and_then(|found| {
        let digest = digest(&found)?;
        if digest != SHA256 {
            bail!("the jars have the digest {digest}, pinned is {SHA256}: they are not used");
        }
        Ok(fs::rename(found, &jars)?)
    });
    let _ = fs::remove_dir_all(&work);
    fetched.with_context(|| format!("kafka {VERSION} could not be had from Maven (mvn)"))?;
    step.done("fetched, its SHA-256 as pinned");
    Ok(jars)
}

fn download(work: &Path, logs: &Path) -> Result<PathBuf> {
    fs::write(work.join("pom.xml"), POM)?;
    let jars = work.join("jars");
    let mut command = Command::new("mvn");
    // A repository of its own: nothing of the user's is changed.
    command.args(["--quiet", "--batch-mode", COPY, "-DincludeScope=runtime"]).current_dir(work);
    command.arg(format!("-Dmaven.repo.local={}", work.join("repository").display()));
    command.arg(format!("-DoutputDirectory={}", jars.display()));
    child::run_logged("the download", &mut command, &logs.join("kafka-fetch.log"))?;
    Ok(jars)
}

fn digest(jars: &Path) -> Result<String> {
    let mut names: Vec<_> = fs::read_dir(jars)?.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let mut whole = Sha256::new();
    for name in names {
        let one = hex::encode(Sha256::digest(fs::read(jars.join(&name))?));
        whole.update(format!("{} {one}\n", name.to_string_lossy()));
    }
    Ok(hex::encode(whole.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_jar_name_or_order_makes_another_digest() {
        let dir = tempfile::tempdir().unwrap();
        let of = || digest(dir.path()).unwrap();
        fs::write(dir.path().join("b.jar"), "b").unwrap();
        let one = of();
        fs::write(dir.path().join("a.jar"), "a").unwrap();
        let two = of();
        fs::write(dir.path().join("a.jar"), "b").unwrap();
        assert!(one != two && two != of());
        assert_eq!((SHA256.len(), POM.contains(VERSION)), (64, true));
    }
}
