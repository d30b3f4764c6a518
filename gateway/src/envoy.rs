//! The Envoy configuration, rendered from where things listen and from the descriptors.
//!
//! `gateway/envoy/envoy.yaml` is the template and says what each part is for; `gateway/envoy/README.md` says why. The
//! only thing derived here is one gRPC route and one cluster per `coreloop.<module>` package of the descriptor pool, so
//! a new service needs no edit.

mod part;

use std::collections::BTreeSet;

use coreloop_transcode::descriptor;

/// The template.
const TEMPLATE: &str = include_str!("../envoy/envoy.yaml");

/// Where a process listens: a host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Endpoint {
    /// An endpoint.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl From<std::net::SocketAddr> for Endpoint {
    fn from(address: std::net::SocketAddr) -> Self {
        Self::new(address.ip().to_string(), address.port())
    }
}

/// What stands where.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Where Envoy listens: HTTP/1.1, HTTP/2 and gRPC.
    pub listen: Endpoint,
    /// Envoy's admin port. Never public: it can stop the process.
    pub admin: Endpoint,
    /// The gateway's HTTP port, of each replica or under a name of all of them.
    pub gateway: Vec<Endpoint>,
    /// gRPC port of each module, as `("auth", …)`. A module that is not listed is reached through the gateway, which
    /// answers for what it does not know.
    pub services: Vec<(String, Vec<Endpoint>)>,
    /// Who decides (`envoy.service.auth.v3.Authorization`): the gRPC port of `auth`.
    pub authz: Vec<Endpoint>,
    /// Longest time a decision may take, in milliseconds; after it the request is refused.
    pub authz_timeout_ms: u32,
    /// File of the access log.
    pub access_log: String,
    /// Proxies of ours in front of Envoy, whose `X-Forwarded-For` entries are believed.
    pub trusted_hops: u32,
    /// Most open client connections.
    pub max_connections: u32,
    /// Memory after which requests are refused, in bytes.
    pub max_heap_bytes: u64,
    /// Collector of traces (OTLP gRPC); without one trace context is still started and handed on.
    pub otlp: Option<Endpoint>,
    /// Share of traces that are sampled when the client did not decide, in percent.
    pub trace_sample_percent: f64,
}

impl Topology {
    /// A topology of one replica with the usual limits.
    #[must_use]
    pub fn new(listen: Endpoint, admin: Endpoint, gateway: Endpoint, authz: Endpoint) -> Self {
        Self {
            services: vec![("auth".to_owned(), vec![authz.clone()])],
            listen,
            admin,
            gateway: vec![gateway],
            authz: vec![authz],
            authz_timeout_ms: 250,
            access_log: "/dev/stdout".to_owned(),
            trusted_hops: 0,
            max_connections: 50_000,
            max_heap_bytes: 1024 * 1024 * 1024,
            otlp: None,
            trace_sample_percent: 100.0,
        }
    }
}

/// Envoy's configuration as YAML.
#[must_use]
pub fn render(topology: &Topology) -> String {
    let t = topology;
    let services: Vec<_> = modules().into_iter().filter_map(|module| Some((endpoints(t, &module)?, module))).collect();
    let routes: String = services.iter().map(|(_, module)| part::grpc_route(module)).collect();
    let clusters: String = services.iter().map(|(at, module)| part::service_cluster(module, at)).collect();
    let otlp_cluster = part::otlp_cluster(t.otlp.as_ref());
    let marks = [
        ("listen_host", t.listen.host.clone()),
        ("listen_port", t.listen.port.to_string()),
        ("admin_host", t.admin.host.clone()),
        ("admin_port", t.admin.port.to_string()),
        ("authz_timeout", format!("{}s", f64::from(t.authz_timeout_ms) / 1000.0)),
        ("access_log", t.access_log.clone()),
        ("trusted_hops", t.trusted_hops.to_string()),
        ("max_connections", t.max_connections.to_string()),
        ("max_heap_bytes", t.max_heap_bytes.to_string()),
        ("trace_sample_percent", format!("{:?}", t.trace_sample_percent.clamp(0.0, 100.0))),
        ("is_grpc", part::IS_GRPC.to_owned()),
        ("is_denial", part::IS_DENIAL.to_owned()),
        ("is_503", part::is_status(503)),
        ("unavailable", part::unavailable()),
        ("status_mappers", part::status_mappers()),
        ("grpc_content", part::GRPC_CONTENT.to_owned()),
        ("grpc_routes", routes),
        ("authz_cluster", part::grpc_backend("ext_authz", &t.authz)),
        ("gateway_cluster", part::gateway_backend(&t.gateway)),
        ("sockets_cluster", part::sockets_backend(&t.gateway)),
        ("service_clusters", clusters + &otlp_cluster),
    ];
    let mut text = TEMPLATE.to_owned();
    for (mark, value) in marks {
        text = text.replace(&["{{", mark, "}}"].concat(), value.trim_end());
    }
    text
}

/// The modules of the contracts: `coreloop.<module>.…` packages that declare a service.
fn modules() -> BTreeSet<String> {
    let services = descriptor::pool().services();
    let module = |package: &str| Some(package.strip_prefix("coreloop.")?.split('.').next()?.to_owned());
    services.filter_map(|service| module(service.package_name())).collect()
}

fn endpoints<'a>(topology: &'a Topology, module: &str) -> Option<&'a [Endpoint]> {
    topology.services.iter().find(|(name, _)| name == module).map(|(_, at)| at.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Topology {
        let at = |port| Endpoint::new("127.0.0.1", port);
        Topology::new(at(10_000), at(10_001), at(10_002), at(10_003))
    }

    #[test]
    fn every_mark_is_filled() {
        let text = render(&Topology { otlp: Some(Endpoint::new("collector", 4317)), ..local() });
        assert!(!text.contains("{{"), "{}", text.lines().find(|line| line.contains("{{")).unwrap_or_default());
    }

    #[test]
    fn every_module_with_an_address_has_a_route_and_a_cluster() {
        let text = render(&local());
        assert!(text.contains("prefix: \"/coreloop.auth.\""));
        assert!(text.contains("name: service_auth"));
        assert!(!text.contains("service_edge"), "a module without an address is the gateway's to answer");
    }

    #[test]
    fn every_replica_is_a_host_of_its_cluster() {
        let more =
            |port: u16| vec![Endpoint::new("127.0.0.1", 20_000 + port), Endpoint::new("127.0.0.1", 30_000 + port)];
        let text = render(&Topology { gateway: more(1), authz: more(2), ..local() });
        // The gateway's are hosts of its sockets too.
        for (port, times) in [(20_001, 2), (30_001, 2), (20_002, 1), (30_002, 1)] {
            assert_eq!(text.matches(&format!("port_value: {port}}}")).count(), times, "{port}");
        }
    }

    #[test]
    fn a_socket_goes_over_http_1_and_who_decides_is_told_of_it() {
        let text = render(&local());
        let cluster = text.split("- name: gateway_sockets").nth(1).unwrap_or_default();
        let cluster = cluster.split("    - name: ").next().unwrap_or_default();
        assert!(cluster.contains("http_protocol_options: {}") && !cluster.contains("http2_"), "{cluster}");
        assert!(text.contains("{exact: upgrade, ignore_case: true}"));
        let (sockets, rest) = (text.find("- name: sockets"), text.find("- name: rest"));
        assert!(sockets.is_some() && sockets < rest, "the first route that matches is taken");
    }

    #[test]
    fn the_rendered_configuration_is_the_reviewed_one() {
        insta::assert_snapshot!("envoy", render(&local()));
    }
}
