//! `coreloop serve`: modules in one process, until a signal asks it to drain.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use coreloop_config::{Errors, Settings};
use coreloop_server::{LogOptions, OtlpOptions, Running, Server, Telemetry};
use coreloop_service::Mode;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{brokers, config, modules};

/// What to serve.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// `all`, or names of modules.
    #[arg(required = true)]
    targets: Vec<String>,
    /// File to write the addresses to, as JSON, once every listener is bound and every check passes.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// A bug of crates/planted; local mode alone.
    #[cfg(feature = "planted")]
    #[arg(long, value_name = "BUG")]
    planted: Option<coreloop_planted::Bug>,
}

/// Serves until SIGTERM or SIGINT, then drains. A second signal ends at once.
pub(crate) async fn run(settings: Settings, arguments: &Arguments) -> anyhow::Result<()> {
    let server = Server::builder(settings.clone()).modules(modules::of(&arguments.targets)?);
    let mut errors = Errors::default();
    errors.absorb(config::check(&settings));
    errors.absorb(server.check());
    errors.into_result()?;
    let brokers = brokers::read(&settings.section("eventing"))?;
    let telemetry = Telemetry::init(
        &settings.section("log").read::<LogOptions>()?,
        &settings.section("otlp").read::<OtlpOptions>()?,
    )?;
    // A signal that comes while starting must not be lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // Elsewhere migrations are a step of their own, run once before the new version.
    let local = settings.read::<Mode>("mode")? == Mode::Local;
    #[cfg(feature = "planted")]
    plant(local, arguments.planted)?;
    let running = server.migrate(local).spans(telemetry.spans()).extension(brokers).start().await?;
    tokio::select! {
        () = running.ready() => announce(&running, arguments.ready_file.as_deref())?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::select! {
        () = running.shutdown() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    telemetry.finish().await;
    Ok(())
}

/// A build that can have bugs is for nothing but to be found out.
#[cfg(feature = "planted")]
fn plant(local: bool, bug: Option<coreloop_planted::Bug>) -> anyhow::Result<()> {
    anyhow::ensure!(local, "this build can have planted bugs: it starts in local mode alone");
    if let Some(bug) = bug {
        eprintln!("coreloop: this process has the planted bug {bug}");
        coreloop_planted::plant(bug);
    }
    Ok(())
}

fn announce(running: &Running, file: Option<&Path>) -> anyhow::Result<()> {
    let grpc: serde_json::Map<_, _> =
        running.grpc_addrs.iter().map(|(name, addr)| (name.clone(), json!(addr.to_string()))).collect();
    let gateway = running.gateway_addr.map(|addr| addr.to_string());
    let line = json!({"ready": true, "gateway": gateway, "admin": running.admin_addr.to_string(), "grpc": grpc});
    if let Some(file) = file {
        // Written whole or not at all: whoever waits for the file reads it at once.
        let partial = file.with_extension("partial");
        std::fs::write(&partial, format!("{line}\n")).with_context(|| partial.display().to_string())?;
        std::fs::rename(&partial, file).with_context(|| file.display().to_string())?;
    }
    println!("{line}");
    Ok(())
}
