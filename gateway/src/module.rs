//! The edge as a module of the process.

use coreloop_service::{BuildError, Built, Ctx, Local, Module, Rpcs};
use coreloop_transcode::router;
use futures::future::BoxFuture;

use crate::{
    Options,
    edge::{Edge, Ground},
    pb::edge_service_server::EdgeServiceServer,
    service::Own,
};

/// The module `edge`: the HTTP port in front of every service, and the edge's own RPCs.
#[derive(Debug, Default)]
pub struct Gateway(());

/// The module `edge`; its settings are the section `[gateway]`.
#[must_use]
pub fn module() -> Gateway {
    Gateway(())
}

impl Module for Gateway {
    fn name(&self) -> &'static str {
        "edge"
    }

    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        Box::pin(std::future::ready(build(ctx)))
    }
}

fn build(ctx: Ctx) -> Result<Built, BuildError> {
    let options = Options::read(&ctx.settings)?;
    let own = Own { docs: options.docs, readiness: ctx.readiness, metrics: ctx.metrics.clone() };
    let ground = Ground {
        router: router::router(),
        links: ctx.links,
        limiter: ctx.limiter,
        ids: ctx.ids,
        metrics: ctx.metrics,
        stopping: ctx.stopping,
    };
    let edge = Edge::new(options, ground)?;
    Ok(Built {
        rpcs: Rpcs::new().with(EdgeServiceServer::new(own)),
        workers: vec![edge.worker()],
        http: Some(Local::new(edge)),
        ..Built::default()
    })
}
