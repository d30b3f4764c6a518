//! A process that serves.

use std::{collections::BTreeMap, net::SocketAddr};

use coreloop_service::{Links, Metrics, Readiness};

/// A process that serves. Dropping it stops everything at once; [`Running::shutdown`] drains first.
#[derive(Debug)]
pub struct Running {
    /// Address of each module's gRPC listener, by module name.
    pub grpc_addrs: BTreeMap<String, SocketAddr>,
    /// Address of the edge's HTTP listener, when the edge is served here.
    pub gateway_addr: Option<SocketAddr>,
    /// Address of the admin HTTP server.
    pub admin_addr: SocketAddr,
    /// The link table, to call modules from inside the process.
    pub links: Links,
    /// The metrics registry.
    pub metrics: Metrics,
    /// The readiness checks.
    pub readiness: Readiness,
}

impl Running {
    /// Waits until every readiness check passes.
    pub async fn ready(&self) {}

    /// Drains: readiness turns false, listeners close, running calls get `server.drain_ms`, then workers are cancelled.
    pub async fn shutdown(self) {}

    /// Stops at once, as a killed process would: open calls are cut.
    pub async fn abort(self) {}
}
