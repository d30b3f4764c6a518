//! `coreloop openapi` and `coreloop envoy-config`: what stands before the mesh, from the descriptors.

use std::io::Write as _;

use anyhow::Context as _;
use coreloop_config::Settings;
use coreloop_gateway::envoy::{Endpoint, Topology, render};
use coreloop_server::{OtlpOptions, ServerOptions};

/// Where Envoy stands. Where the mesh stands comes from the settings (`server.host`, `server.ports`), and so do traces (`otlp`).
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
    print!("{}", render(&topology(settings, arguments)?));
    Ok(())
}

fn topology(settings: &Settings, arguments: &Arguments) -> anyhow::Result<Topology> {
    let server = ServerOptions::read(&settings.section("server"))?;
    let otlp = OtlpOptions::read(&settings.section("otlp"))?;
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
    // Who begins a trace decides whether it is sampled, and behind Envoy that is Envoy.
    topology.trace_sample_percent = otlp.ratio * 100.0;
    topology.otlp = otlp.endpoint.as_deref().map(collector).transpose()?;
    Ok(topology)
}

/// Where the collector of traces is. Envoy speaks plain HTTP/2 to it.
fn collector(endpoint: &str) -> anyhow::Result<Endpoint> {
    let url: reqwest::Url = endpoint.parse().context("otlp.endpoint")?;
    let host = url.host_str().context("otlp.endpoint names no host")?;
    anyhow::ensure!(url.scheme() == "http", "otlp.endpoint must be http:// for Envoy, is {}://", url.scheme());
    // Envoy takes an address of IPv6 without its brackets.
    Ok(Endpoint::new(host.trim_matches(['[', ']']), url.port_or_known_default().unwrap_or(80)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn rendered(toml: &str) -> anyhow::Result<String> {
        let ports = "[server.ports]\ngateway = 9002\nauth = 9003\nedge = 9004\n";
        let settings = Settings::defaults().with_toml("x", &format!("{ports}{toml}")).unwrap();
        let arguments = Arguments { port: 8000, admin_port: 8001, host: "127.0.0.1".to_owned() };
        Ok(render(&topology(&settings, &arguments)?))
    }

    /// Were it anything else, every trace through Envoy would bear the flag, and `otlp.ratio` would decide nothing.
    #[test]
    fn envoy_samples_the_share_of_the_settings_and_exports_where_they_say() {
        let text = rendered("[otlp]\nratio = 0.25\nendpoint = \"http://collector:4317\"\n").unwrap();
        assert!(text.contains("random_sampling: {value: 25.0}"), "{text}");
        assert!(text.contains("socket_address: {address: \"collector\", port_value: 4317}"), "{text}");
        let text = rendered("").unwrap();
        assert!(text.contains("random_sampling: {value: 10.0}") && text.contains("cluster_name: otlp}"), "{text}");
        let refused = rendered("[otlp]\nendpoint = \"https://collector:4317\"\n").unwrap_err().to_string();
        assert!(refused.contains("otlp.endpoint"), "{refused}");
    }

    #[test]
    fn every_port_of_the_settings_is_reached() {
        let text = rendered("").unwrap();
        for port in [9002, 9003, 9004] {
            assert!(text.contains(&format!("port_value: {port}}}")), "{port}");
        }
        let free = topology(&Settings::defaults(), &Arguments { port: 1, admin_port: 2, host: String::new() });
        assert!(free.err().unwrap().to_string().contains("server.ports.gateway"));
    }
}
