//! `cargo xtask test`: everything a test needs, started for the run and thrown away after it.

use std::{
    io::IsTerminal as _,
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
    kafka: PathBuf,
    elasticmq: PathBuf,
    postgres: Option<Postgres>,
    redis: Option<Redis>,
}

impl Surroundings {
    /// Starts a PostgreSQL of its own, which writes through only when `durable`, and a Redis that keeps nothing.
    pub(crate) fn start(root: &Path, durable: bool) -> Result<Self> {
        let logs = place::private(root)?.join("logs");
        packages::ensure_servers(&["rabbitmq-server"], &logs)?;
        let (kafka, elasticmq) = (jars::kafka(root)?, jars::elasticmq(root)?);
        let name = format!("test-{}", std::process::id());
        let mut started =
            Self { root: root.to_owned(), name: name.clone(), kafka, elasticmq, postgres: None, redis: None };
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
            ("CORELOOP_TEST_ENVOY", envoy.display().to_string()),
            ("CORELOOP_TEST_KAFKA", self.kafka.display().to_string()),
            ("CORELOOP_TEST_ELASTICMQ", self.elasticmq.display().to_string()),
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
