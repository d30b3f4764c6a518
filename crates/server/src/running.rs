//! A process that serves, and how it stops.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use coreloop_access::Gate;
use coreloop_service::{Component, Links, Metrics, Readiness};
use sqlx::PgPool;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{listen::Stops, readiness::Checks, workers::Ends};

/// Time that workers and pools are given to end.
const CLOSING: Duration = Duration::from_secs(5);

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
    /// The gate of the process.
    pub gate: Arc<Gate>,
    pub(crate) inside: Inside,
}

/// What stops the process. Dropped, everything is cut.
pub(crate) struct Inside {
    pub(crate) checks: Checks,
    /// `Running.links`, to be emptied: they and the modules behind them keep each other.
    pub(crate) links: Links,
    pub(crate) stops: Stops,
    /// `Ctx.stopping`.
    pub(crate) stopping: CancellationToken,
    pub(crate) ends: Ends,
    pub(crate) workers: TaskTracker,
    pub(crate) pools: Vec<PgPool>,
    pub(crate) drain: Duration,
    pub(crate) drain_lead: Duration,
}

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inside").finish_non_exhaustive()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.stops.kill.cancel();
        self.ends.stop.cancel();
        self.ends.kill.cancel();
        self.links.clear();
    }
}

impl Running {
    /// Waits until every readiness check passes.
    pub async fn ready(&self) {
        loop {
            if self.readiness.components().await.iter().all(Component::ready) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Drains: readiness turns false, listeners close, running calls get `server.drain_ms`, then workers are asked to end.
    pub async fn shutdown(self) {
        let inside = &self.inside;
        inside.checks.drain();
        tracing::info!("draining");
        tokio::time::sleep(inside.drain_lead).await;
        inside.stopping.cancel();
        inside.stops.drain.cancel();
        inside.stops.connections.close();
        if tokio::time::timeout(inside.drain, inside.stops.connections.wait()).await.is_err() {
            tracing::warn!(
                connections = inside.stops.connections.len(),
                "the drain deadline passed; connections are cut"
            );
        }
        self.end().await;
    }

    /// Stops at once, as a killed process would: open calls are cut, and so is what workers have begun.
    pub async fn abort(self) {
        self.inside.ends.kill.cancel();
        self.end().await;
    }

    async fn end(self) {
        let inside = &self.inside;
        inside.stopping.cancel();
        inside.stops.kill.cancel();
        inside.stops.connections.close();
        inside.ends.stop.cancel();
        inside.workers.close();
        let ended = async {
            inside.stops.connections.wait().await;
            inside.workers.wait().await;
            self.links.clear();
            futures::future::join_all(inside.pools.iter().map(PgPool::close)).await;
        };
        if tokio::time::timeout(CLOSING, ended).await.is_err() {
            tracing::warn!(workers = inside.workers.len(), "workers or pools did not end in time");
        }
    }
}
