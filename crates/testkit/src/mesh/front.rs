//! Envoys in front of a mesh.

use std::net::SocketAddr;

use coreloop_gateway::envoy::{Endpoint, Topology, render};

use super::TestMesh;
use crate::{Envoy, FaultProxy};

impl TestMesh {
    /// Another Envoy, whose decisions are the mesh's and whose REST backend is at `gateway`.
    pub async fn envoy_before(&self, gateway: SocketAddr) -> Envoy {
        let auth = match &self.auth_proxy {
            Some(proxy) => at(proxy),
            None => Endpoint::from(self.node(0, "auth").running().grpc_addrs["auth"]),
        };
        let edge = Endpoint::from(self.node(0, "edge").running().grpc_addrs["edge"]);
        let otlp = self.otlp.as_ref().map(|otlp| otlp.address().into());
        Envoy::start(|ports| {
            let here = |port| Endpoint::new("127.0.0.1", port);
            let mut topology = Topology::new(here(ports.ingress), here(ports.admin), gateway.into(), auth);
            topology.services.push(("edge".to_owned(), edge));
            topology.otlp = otlp;
            // Two cores run every test at once: a check may wait for its turn longer than anywhere else.
            topology.authz_timeout_ms = AUTHZ_TIMEOUT_MS;
            render(&topology)
        })
        .await
    }

    /// The Envoy of the mesh itself.
    pub(super) async fn envoy_in_front(&self) -> Envoy {
        let gateway = self.node(0, "edge").running().gateway_addr.expect("the node serves the edge");
        self.envoy_before(gateway).await
    }
}

/// Longest time a decision may take under test, in milliseconds.
pub const AUTHZ_TIMEOUT_MS: u32 = 2_000;

fn at(proxy: &FaultProxy) -> Endpoint {
    Endpoint::new("127.0.0.1", proxy.port())
}
