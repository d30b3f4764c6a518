//! `coreloop openapi` and `coreloop envoy-config`: what stands before the mesh, from the descriptors.

use std::io::Write as _;

use anyhow::Context as _;
use coreloop_config::Settings;
use coreloop_gateway::envoy::{Endpoint, Topology, render};
use coreloop_server::ServerOptions;

/// Where Envoy stands. The mesh's own ports come from the settings (`server.ports`), and `peers`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Port that Envoy listens on.
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Port of Envoy's admin interface, on the loopback only.
    #[arg(long, default_value_t = 8001)]
    admin_port: u16,
    /// Address that Envoy listens on.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
}

/// Prints the OpenAPI document.
pub(crate) fn openapi() -> anyhow::Result<()> {
    std::io::stdout().write_all(&coreloop_gateway::openapi_json())?;
    Ok(())
}

/// Prints Envoy's configuration.
pub(crate) fn envoy(settings: &Settings, arguments: &Arguments) -> anyhow::Result<()> {
    let server: ServerOptions = settings.section("server").read()?;
    let at = |name: &str| {
        let port = server.ports.get(name).copied().filter(|port| *port != 0);
        let port = port.with_context(|| format!("server.ports.{name} must be set: Envoy cannot follow a free port"))?;
        anyhow::Ok(Endpoint::new(server.host.clone(), port))
    };
    let listen = Endpoint::new(arguments.host.clone(), arguments.port);
    let admin = Endpoint::new("127.0.0.1", arguments.admin_port);
    let mut topology = Topology::new(listen, admin, at("gateway")?, at("auth")?);
    for name in server.ports.keys().filter(|name| !["auth", "gateway"].contains(&name.as_str())) {
        topology.services.push((name.clone(), vec![at(name)?]));
    }
    print!("{}", render(&topology));
    Ok(())
}
