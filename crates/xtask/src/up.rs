//! `cargo xtask up`: the whole mesh on this machine, with servers and data of its own, from one command.
//!
//! In order: the lock, what a killed `up` left behind, missing packages, the build, PostgreSQL and Redis, schema and
//! seed, the sandbox of third parties, every service in one process, Envoy when asked for. Then it waits; Ctrl-C, or
//! the death of any part, stops all of it in reverse. Each child leads a process group of its own, so nothing else is
//! ever signalled, and has a death signal, so nothing stays should xtask itself be killed.

mod parts;
mod settings;
mod summary;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use self::settings::Ports;
use crate::{
    child::Server,
    interrupt, lint,
    lock::Lock,
    packages, place,
    postgres::{self, Plan},
    progress::{Step, say, seconds},
    redis,
    state::State,
    tools,
};

/// How the mesh is started.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Put Envoy in front; it asks our auth service about every request.
    #[arg(long)]
    envoy: bool,
    /// Build and run the release profile.
    #[arg(long)]
    release: bool,
    /// Drop the data of earlier runs first.
    #[arg(long)]
    fresh: bool,
    /// Run this build of coreloop instead of building one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// What runs, in the order it was started.
struct Running {
    servers: Vec<Server>,
    state: State,
}

/// Starts everything, waits, stops everything.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let begin = Instant::now();
    let private = place::private(root)?;
    let lock = Lock::take(&private.join("up.lock"))?;
    if let Some(pid) = lock.stale {
        say(&format!("cleared a stale lock: the `up` with pid {pid} ended without cleaning up"));
    }
    let mut running = Running { servers: Vec::new(), state: State::load(&private)? };
    for left in running.state.sweep()? {
        say(&format!("stopped {left}, left by an `up` that was killed"));
    }
    let outcome = running.start(root, &private, options, begin).and_then(|()| running.watch());
    running.stop();
    drop(lock);
    if interrupt::came() {
        say("stopped");
        return Ok(());
    }
    outcome
}

impl Running {
    fn start(&mut self, root: &Path, private: &Path, options: &Options, begin: Instant) -> Result<()> {
        if options.fresh {
            forget(root)?;
        }
        // The commands that are printed at the end are curl's.
        packages::ensure_servers(&["curl"], &private.join("logs"))?;
        let envoy = options.envoy.then(|| tools::envoy(root)).transpose()?;
        let binary = match &options.binary {
            Some(binary) => binary.canonicalize().with_context(|| format!("{}", binary.display()))?,
            None => build(root, options.release)?,
        };
        let ports = self.ports(root, options.envoy)?;
        let urls = self.databases(root, &ports)?;
        let settings = settings::write(private, &ports, &urls)?;
        parts::prepare(root, &binary, &settings)?;
        let parts = parts::Parts { root, binary: &binary, settings: &settings, ports: &ports };
        self.keep(parts.sandbox()?)?;
        self.keep(parts.services()?)?;
        if let Some(envoy) = &envoy {
            self.keep(parts.envoy(envoy)?)?;
        }
        summary::prepare(private)?;
        println!("{}", summary::table(&ports, &urls, options.envoy));
        println!("{}", summary::tour(private, &ports));
        println!("{}", summary::story(&binary, &settings));
        println!("ready after {}; Ctrl-C stops everything started here", seconds(begin.elapsed()));
        Ok(())
    }

    fn ports(&mut self, root: &Path, with_envoy: bool) -> Result<Ports> {
        let services = services(root)?;
        let mut note = |name: &str, preferred: u16| -> Result<u16> {
            let (port, moved) = self.state.port(name, preferred)?;
            if let Some(moved) = moved {
                say(&moved);
            }
            Ok(port)
        };
        let mut grpc = Vec::new();
        for (preferred, service) in (7001_u16..).zip(services) {
            grpc.push((service.clone(), note(&service, preferred)?));
        }
        let (envoy, gateway) = (note("envoy", 8000)?, note("gateway", 8080)?);
        let ports = Ports {
            front: if with_envoy { envoy } else { gateway },
            envoy,
            envoy_admin: note("envoy-admin", 8001)?,
            gateway,
            admin: note("admin", 8081)?,
            sandbox: note("sandbox", 8090)?,
            postgres: note("postgres", 15432)?,
            redis: note("redis", 16379)?,
            grpc,
        };
        self.state.save()?;
        Ok(ports)
    }

    fn databases(&mut self, root: &Path, ports: &Ports) -> Result<settings::Urls> {
        let found = |resumed: bool| if resumed { "resumed with its data" } else { "new" };
        let step = Step::begin("PostgreSQL");
        let postgres = postgres::start(&Plan { root, name: "pg", port: ports.postgres, durable: true })?;
        step.done(found(postgres.resumed));
        self.keep(postgres.server)?;
        let step = Step::begin("Redis");
        let redis = redis::start(root, "redis", ports.redis, true)?;
        step.done(found(redis.resumed));
        self.keep(redis.server)?;
        Ok(settings::Urls { postgres: postgres.url, redis: redis.url })
    }

    fn keep(&mut self, server: Server) -> Result<()> {
        self.state.note(server.name(), server.pid())?;
        self.servers.push(server);
        Ok(())
    }

    /// Waits for a signal, or for a part to end.
    fn watch(&mut self) -> Result<()> {
        while !interrupt::came() {
            for server in &mut self.servers {
                if let Some(status) = server.ended()? {
                    bail!("{}", server.obituary(status));
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Stops what was started, the last first.
    fn stop(&mut self) {
        while let Some(mut server) = self.servers.pop() {
            if let Err(error) = server.stop(Duration::from_secs(20)) {
                say(&format!("{error:#}"));
            }
        }
        self.state.started.clear();
        if let Err(error) = self.state.save() {
            say(&format!("{error:#}"));
        }
    }
}

fn build(root: &Path, release: bool) -> Result<PathBuf> {
    let begin = Instant::now();
    // Not a step with a spinner: cargo shows its own progress.
    let binary = lint::binary(root, release)?;
    say(&format!("build: done ({})", seconds(begin.elapsed())));
    Ok(binary)
}

/// Drops the data of earlier runs.
fn forget(root: &Path) -> Result<()> {
    let private = place::private(root)?;
    place::drop_data(&private.join("pg"))?;
    redis::forget(root, "redis")?;
    // The keys in it open what only the dropped database held.
    place::drop_data(&private.join("auth"))?;
    for file in ["pg.password", "services.password"] {
        let path = private.join(file);
        if path.exists() {
            fs::remove_file(path)?;
        }
    }
    say("dropped the data of earlier runs");
    Ok(())
}

/// Modules with a gRPC listener: the edge, and every folder of `services/`.
fn services(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("services"))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    names.push("edge".to_owned());
    Ok(names)
}
