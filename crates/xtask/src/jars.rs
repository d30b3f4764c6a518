//! Servers of Java that tests need, as the jars that Maven resolves: fetched into `.tools/` with Maven's own client, checked as a whole.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{child, packages, place, progress::Step};

/// A server.
struct Server {
    name: &'static str,
    version: &'static str,
    pom: &'static str,
    /// Of every jar's name and SHA-256, in the order of the names.
    sha256: &'static str,
}

const KAFKA: Server = Server {
    name: "kafka",
    version: "3.9.1",
    pom: include_str!("kafka.pom.xml"),
    sha256: "e880b68d15f512c7642e4f4d8448679f9cf65f4447c48247e9f38342afadd487",
};
const ELASTICMQ: Server = Server {
    name: "elasticmq",
    version: "1.6.14",
    pom: include_str!("elasticmq.pom.xml"),
    sha256: "f60110f7dc54f29f756ce2569c0e69988953769653620f439ba1e8135a6e5fa0",
};
const APICURIO: Server = Server {
    name: "apicurio",
    version: "2.6.13.Final",
    pom: include_str!("apicurio.pom.xml"),
    sha256: "7f1fc7cce0553d3875522ec8e6541d0fa7ee0bec327a1121c99e28cc7618659a",
};
/// What copies what the pom names, and all that it needs.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

/// The folder of Kafka's jars, and a Java to run them.
pub(crate) fn kafka(root: &Path) -> Result<PathBuf> {
    KAFKA.fetched(root)
}

/// The folder of the jars of ElasticMQ, which speaks SQS, and a Java to run them.
pub(crate) fn elasticmq(root: &Path) -> Result<PathBuf> {
    ELASTICMQ.fetched(root)
}

/// The jar of Apicurio Registry, a Schema Registry, and a Java to run it.
pub(crate) fn apicurio(root: &Path) -> Result<PathBuf> {
    Ok(APICURIO.fetched(root)?.join(format!("apicurio-registry-app-{}-runner.jar", APICURIO.version)))
}

impl Server {
    fn fetched(&self, root: &Path) -> Result<PathBuf> {
        let (name, version) = (self.name, self.version);
        place::tools(root)?;
        let (jars, logs) = (root.join(format!(".tools/{name}-{version}")), place::private(root)?.join("logs"));
        if jars.exists() {
            if packages::in_path("java").is_none() {
                packages::install(&["default-jre-headless"], &logs)?;
            }
            return Ok(jars);
        }
        if packages::in_path("mvn").is_none() {
            packages::install(&["maven"], &logs)?;
        }
        let step = Step::begin(&format!("{name} {version}"));
        let work = root.join(format!(".tools/fetch-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&work);
        fs::create_dir_all(&work)?;
        let fetched = self.download(&work, &logs).and_then(|found| {
            let (digest, pinned) = (digest(&found)?, self.sha256);
            if digest != pinned {
                bail!("the jars have the digest {digest}, pinned is {pinned}: they are not used");
            }
            unpack(&found)?;
            Ok(fs::rename(found, &jars)?)
        });
        let _ = fs::remove_dir_all(&work);
        fetched.with_context(|| format!("{name} {version} could not be had from Maven (mvn)"))?;
        step.done("fetched, its SHA-256 as pinned");
        Ok(jars)
    }

    fn download(&self, work: &Path, logs: &Path) -> Result<PathBuf> {
        fs::write(work.join("pom.xml"), self.pom)?;
        let jars = work.join("jars");
        let mut command = Command::new("mvn");
        // A repository of its own: nothing of the user's is changed.
        command.args(["--quiet", "--batch-mode", COPY, "-DincludeScope=runtime"]).current_dir(work);
        command.arg(format!("-Dmaven.repo.local={}", work.join("repository").display()));
        command.arg(format!("-DoutputDirectory={}", jars.display()));
        child::run_logged("the download", &mut command, &logs.join(format!("{}-fetch.log", self.name)))?;
        Ok(jars)
    }
}

/// Puts what an archive holds in its place.
fn unpack(jars: &Path) -> Result<()> {
    for archive in fs::read_dir(jars)?.flatten().map(|entry| entry.path()) {
        if archive.to_string_lossy().ends_with(".tar.gz") {
            child::output(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(jars))?;
            fs::remove_file(archive)?;
        }
    }
    Ok(())
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
        for server in [KAFKA, ELASTICMQ, APICURIO] {
            assert_eq!((server.sha256.len(), server.pom.contains(server.version)), (64, true));
        }
    }
}
