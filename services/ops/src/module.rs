//! The service as the process sees it.

use std::sync::Arc;

use coreloop_ops_api::{host, integrity::Checks, v1::ops_service_server::OpsServiceServer};
use coreloop_service::{BuildError, Built, Check, Ctx, Module, Rpcs};
use futures::future::BoxFuture;

use crate::{App, Options, acts, grpc::Grpc, integrity::verify, worker};

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

    fn requires(&self) -> &'static [&'static str] {
        // What ops asks services in its own name, it asks with a token of auth's.
        &["auth"]
    }

    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        Box::pin(async move {
            let app = Arc::new(App::new(Options::read(&ctx.settings)?, &ctx)?);
            let (probed, audited) = (app.db.clone(), app.db.clone());
            let audit = move || {
                let db = audited.clone();
                async move { Ok(verify(&db).await.map_err(coreloop_db::problem)?.report) }
            };
            let rpcs = Rpcs::new()
                .with(OpsServiceServer::new(Grpc(Arc::clone(&app))))
                .with(Checks::of("ops").with("audit", audit).server())
                .with(host::server(&ctx, "ops")?);
            let mut workers = worker::all(&app);
            workers.extend(acts::consumer(&ctx)?);
            let checks = vec![Check::new("ops/postgres", move || {
                let db = probed.clone();
                async move { coreloop_db::check(&db).await }
            })];
            Ok(Built { rpcs, http: None, workers, checks })
        })
    }
}
