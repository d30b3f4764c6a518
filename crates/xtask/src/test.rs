//! `cargo xtask test`: everything a test needs, started for the run and thrown away after it.

use std::{
    io::IsTerminal as _,
    num::NonZero,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    child, jars, lint, packages, place,
    postgres::{self, Plan, Postgres},
    progress::{Step, say, seconds},
    redis::{self, Redis},
    state, tools,
};

/// What a test run is given, through the environment.
#[derive(Debug)]
pub(crate) struct Surroundings {
    root: PathBuf,
    name: String,
    scratch: PathBuf,
    kafka: PathBuf,
    elasticmq: PathBuf,
    registry: PathBuf,
    postgres: Option<Postgres>,
    redis: Option<Redis>,
}

impl Surroundings {
    /// Starts a PostgreSQL of its own, which writes through only when `durable`, and a Redis that keeps nothing.
    pub(crate) fn start(root: &Path, durable: bool) -> Result<Self> {
        let logs = place::private(root)?.join("logs");
        packages::ensure_servers(&["rabbitmq-server"], &logs)?;
        let (kafka, elasticmq, registry) = (jars::kafka(root)?, jars::elasticmq(root)?, jars::apicurio(root)?);
        let name = format!("test-{}", std::process::id());
        let scratch = scratch(&std::env::temp_dir())?;
        let mut started = Self {
            root: root.to_owned(),
            name: name.clone(),
            scratch,
            kafka,
            elasticmq,
            registry,
            postgres: None,
            redis: None,
        };
        let step = Step::begin("PostgreSQL and Redis for this run");
        let port = state::any_free(&[]).context("no free port")?;
        let plan = Plan { root, name: &format!("{name}-pg"), port, durable };
        started.postgres = Some(postgres::start(&plan)?);
        let port = state::any_free(&[port]).context("no free port")?;
        started.redis = Some(redis::start(root, &format!("{name}-redis"), port, false)?);
        step.done("up");
        Ok(started)
    }

    pub(crate) fn environment(&self, envoy: &Path) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            // Brokers live as long as the process of the tests, which cannot tidy up after them.
            ("TMPDIR", self.scratch.display().to_string()),
            ("CORELOOP_TEST_ENVOY", envoy.display().to_string()),
            ("CORELOOP_TEST_KAFKA", self.kafka.display().to_string()),
            ("CORELOOP_TEST_ELASTICMQ", self.elasticmq.display().to_string()),
            ("CORELOOP_TEST_REGISTRY", self.registry.display().to_string()),
        ];
        if let Some(postgres) = &self.postgres {
            variables.push(("CORELOOP_TEST_DATABASE_URL", postgres.url.clone()));
        }
        if let Some(redis) = &self.redis {
            variables.push(("CORELOOP_TEST_REDIS_URL", redis.url.clone()));
        }
        variables
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        let patience = Duration::from_secs(20);
        let stopped = [
            self.redis.take().map(|mut redis| redis.server.stop(patience)),
            self.postgres.take().map(|mut postgres| postgres.server.stop(patience)),
        ];
        for error in stopped.into_iter().flatten().filter_map(Result::err) {
            say(&format!("{error:#}"));
        }
        if let Err(error) = std::fs::remove_dir_all(&self.scratch) {
            say(&format!("{} is not removed: {error}", self.scratch.display()));
        }
        let pg = format!("{}-pg", self.name);
        let private = self.root.join(".coreloop");
        let removed = place::drop_data(&private.join(&pg))
            .and_then(|()| Ok(std::fs::remove_file(private.join(format!("{pg}.password")))?))
            .and_then(|()| Ok(std::fs::remove_file(private.join("logs").join(format!("{pg}.log")))?))
            .and_then(|()| redis::forget(&self.root, &format!("{}-redis", self.name)));
        if let Err(error) = removed {
            say(&format!("the throw-away data is not all removed: {error:#}"));
        }
    }
}

const SCRATCH: &str = "coreloop-test-";

/// A folder in `temporary` for what this run's tests leave behind; those of runs that were killed are removed.
fn scratch(temporary: &Path) -> Result<PathBuf> {
    for entry in std::fs::read_dir(temporary)?.flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(SCRATCH)).and_then(|run| run.parse::<u32>().ok());
        if run.is_some_and(|run| !Path::new("/proc").join(run.to_string()).exists()) {
            // Another's, who may have their reasons, stays.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let folder = temporary.join(format!("{SCRATCH}{}", std::process::id()));
    std::fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}

/// What says how many tests run at the same time.
const THREADS: &str = "RUST_TEST_THREADS";

/// Tests at the same time: as the caller says, else two a core, for they wait more than they work.
#[expect(clippy::disallowed_methods, reason = "what cargo's own tests read, no setting of ours")]
pub(crate) fn threads() -> usize {
    let said = std::env::var(THREADS).ok().and_then(|said| said.parse().ok()).filter(|said| *said > 0);
    said.unwrap_or_else(|| 2 * std::thread::available_parallelism().map_or(1, NonZero::get))
}

/// Runs the tests, all or those whose name contains `filter`.
pub(crate) fn run(root: &Path, package: Option<&str>, filter: &[String]) -> Result<()> {
    let begin = Instant::now();
    packages::ensure_builders(&place::private(root)?.join("logs"))?;
    let surroundings = Surroundings::start(root, false)?;
    let envoy = tools::envoy(root)?;
    // The tests of processes and of the command line run the product itself.
    let wanted = package.is_none_or(|package| package == "it");
    let product = if wanted { Some(lint::binary(root, false)?) } else { None };
    let cargo = |args: &[&str]| {
        let mut command = Command::new("cargo");
        command.current_dir(root).arg("test").args(args).envs(surroundings.environment(&envoy));
        command.env(THREADS, threads().to_string());
        command.envs(product.iter().map(|product| ("CORELOOP_TEST_BINARY", product)));
        match package {
            Some(package) => command.args(["--package", package]),
            None => command.arg("--workspace"),
        };
        command
    };
    let built = Instant::now();
    if !child::run(&mut cargo(&["--no-run"]))?.success() {
        bail!("the tests do not build");
    }
    say(&format!("tests built in {}", seconds(built.elapsed())));
    let ran = Instant::now();
    let mut command = cargo(&["--no-fail-fast"]);
    command.args(filter);
    let status = child::run(&mut command)?;
    let ran = ran.elapsed();
    drop(surroundings);
    // A log ends with what cargo test said; a person also learns how long it took.
    if std::io::stderr().is_terminal() {
        say(&format!("tests ran in {}, all took {}", seconds(ran), seconds(begin.elapsed())));
    }
    if !status.success() {
        bail!("tests failed (above)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_runs_left_behind_is_removed() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        // No process has such a number.
        for name in ["coreloop-test-4294967295", "coreloop-test-1", "coreloop-test-data", "other"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let mine = scratch(temporary.path()).unwrap();
        assert!(mine.is_dir() && !at("coreloop-test-4294967295").exists());
        assert!(["coreloop-test-1", "coreloop-test-data", "other"].iter().all(|name| at(name).is_dir()));
    }
}
