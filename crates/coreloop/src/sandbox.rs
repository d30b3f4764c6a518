//! `coreloop sandbox`: third parties on the internet, played locally.

use anyhow::{Context as _, bail};
use coreloop_config::Settings;
use coreloop_sandbox::{Options, Sandbox};
use coreloop_service::Mode;
use tokio::signal::unix::{SignalKind, signal};

/// Where to serve.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Port on the loopback; 0 takes a free one.
    #[arg(long, default_value_t = 8090)]
    port: u16,
}

/// Serves until a signal.
pub(crate) async fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<()> {
    if settings.read::<Mode>("mode")? != Mode::Local {
        bail!("the sandbox signs anybody in as anybody: it is for local mode only (setting mode)");
    }
    let options: Options = settings.section("sandbox").read()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", arguments.port))
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{} (--port)", arguments.port))?;
    println!("{{\"ready\":true,\"sandbox\":\"http://{}\"}}", listener.local_addr()?);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Sandbox::serve_until(listener, options, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await?;
    Ok(())
}
