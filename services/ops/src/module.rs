//! The service as the process sees it.

use std::sync::Arc;

use coreloop_ops_api::v1::ops_service_server::OpsServiceServer;
use coreloop_service::{BuildError, Built, Check, Ctx, Module, Rpcs};
use futures::future::BoxFuture;

use crate::{App, Options, grpc::Grpc};

/// The schema `ops`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

#[derive(Debug)]
struct Ops;

/// The ops service.
#[must_use]
pub fn module() -> impl Module {
    Ops
}

impl Module for Ops {
    fn name(&self) -> &'static str {
        "ops"
    }

    fn migrations(&self) -> Option<&'static sqlx::migrate::Migrator> {
        Some(&MIGRATIONS)
    }

    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        Box::pin(async move {
            Options::read(&ctx.settings)?;
            let db = ctx.require_db()?;
            let probed = db.clone();
            let app = Arc::new(App { db, links: ctx.links, clock: ctx.clock, ids: ctx.ids });
            let rpcs = Rpcs::new().with(OpsServiceServer::new(Grpc(app)));
            let checks = vec![Check::new("ops/postgres", move || {
                let db = probed.clone();
                async move { coreloop_db::check(&db).await }
            })];
            Ok(Built { rpcs, checks, ..Built::default() })
        })
    }
}
