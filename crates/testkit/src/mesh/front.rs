//! Envoys in front of a mesh.

use std::net::SocketAddr;

use coreloop_gateway::envoy::{Endpoint, Topology, render};

use super::TestMesh;
use crate::{Envoy, FaultProxy};

impl TestMesh {
    /// Another Envoy, whose decisions are the mesh's and whose REST backend is at `gateway`.
    pub async fn envoy_before(&self, gateway: SocketAddr) -> Envoy {
        self.envoy_of(1, vec![gateway.into()]).await
    }

    /// An Envoy that knows the first so many replicas of each module.
    async fn envoy_of(&self, replicas: usize, gateways: Vec<Endpoint>) -> Envoy {
        let all = |module: &'static str| -> Vec<Endpoint> {
            (0..replicas).map(|replica| self.node(replica, module).running().grpc_addrs[module].into()).collect()
        };
        let auth = self.auth_proxy.as_ref().map_or_else(|| all("auth"), |proxy| vec![at(proxy)]);
        let otlp = self.otlp.as_ref().map(|otlp| otlp.address().into());
        Envoy::start(|ports| {
            let here = |port| Endpoint::new("127.0.0.1", port);
            let mut topology =
                Topology::new(here(ports.ingress), here(ports.admin), gateways[0].clone(), auth[0].clone());
            topology.gateway = gateways;
            let of = |module: &'static str| if module == "auth" { auth.clone() } else { all(module) };
            topology.services = self.modules.iter().map(|module| ((*module).to_owned(), of(module))).collect();
            topology.authz = auth;
            topology.otlp = otlp;
            // Two cores run every test at once: a check may wait for its turn longer than anywhere else.
            topology.authz_timeout_ms = AUTHZ_TIMEOUT_MS;
            render(&topology)
        })
        .await
    }

    /// The Envoy of the mesh itself, before so many replicas of each module.
    pub(super) async fn envoy_in_front(&self, replicas: usize) -> Envoy {
        let gateway = |replica| self.node(replica, "edge").running().gateway_addr.expect("the node serves the edge");
        self.envoy_of(replicas, (0..replicas).map(|replica| gateway(replica).into()).collect()).await
    }
}

/// Longest time a decision may take under test, in milliseconds.
pub const AUTHZ_TIMEOUT_MS: u32 = 5_000;

fn at(proxy: &FaultProxy) -> Endpoint {
    Endpoint::new("127.0.0.1", proxy.port())
}
