//! The service as the process sees it.

use std::sync::Arc;

use coreloop_eventing::{Consumer, Parts};
use coreloop_realtime_api::v1::realtime_service_server::RealtimeServiceServer;
use coreloop_service::{BuildError, Built, Check, Ctx, Module, Rpcs};
use futures::future::BoxFuture;
use sqlx::migrate::Migrator;

use crate::{
    App,
    facts::{self, Writer},
    grpc::Grpc,
    hub::{listen, seats},
};

/// The schema `realtime`: what a consumer keeps.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

#[derive(Debug)]
struct Realtime;

/// The realtime service.
#[must_use]
pub fn module() -> impl Module {
    Realtime
}

impl Module for Realtime {
    fn name(&self) -> &'static str {
        "realtime"
    }

    fn migrations(&self) -> Option<&'static Migrator> {
        Some(&MIGRATIONS)
    }

    fn requires(&self) -> &'static [&'static str] {
        // Parts of the initial state may be away, or not be there at all: they are named as missing then.
        &["auth"]
    }

    fn foreign_services(&self) -> &'static [&'static str] {
        &[coreloop_ops_api::host::SERVICE]
    }

    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        Box::pin(std::future::ready(build(&ctx)))
    }
}

fn build(ctx: &Ctx) -> Result<Built, BuildError> {
    let app = Arc::new(App::of(ctx)?);
    let redis = ctx.redis_client.clone().ok_or("no Redis is configured (redis.url)")?;
    // From the oldest that is kept: what is too old to be said is only counted.
    let writer = Consumer::passing("realtime.writer", Parts::of(ctx, "realtime")?, Writer(Arc::clone(&app)))?;
    let writer = facts::hearing(writer)?;
    let workers = vec![writer.worker(), listen::worker(&app.hub, redis), seats::worker(&app.hub, &app.log)];
    let rpcs = Rpcs::new()
        .with(RealtimeServiceServer::new(Grpc(Arc::clone(&app))))
        .with(coreloop_ops_api::host::server(ctx, "realtime")?);
    let db = ctx.require_db()?;
    let postgres = Check::new("realtime/postgres", move || {
        let db = db.clone();
        async move { coreloop_db::check(&db).await }
    });
    Ok(Built { rpcs, http: None, workers, checks: vec![postgres] })
}
