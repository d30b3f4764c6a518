//! The service as the process sees it.

use std::sync::Arc;

use coreloop_eventing::Relay;
use coreloop_facts::Acts;
use coreloop_ops_api::integrity::Checks;
use coreloop_service::{BuildError, Built, Check, Ctx, Module, Rpcs};
use coreloop_wallet_api::v1::{
    wallet_admin_service_server::WalletAdminServiceServer, wallet_internal_service_server::WalletInternalServiceServer,
    wallet_service_server::WalletServiceServer,
};
use futures::future::BoxFuture;
use sqlx::migrate::Migrator;

use crate::{App, Options, grpc::Grpc, metrics::Metrics, worker};

/// The schema `wallet`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

#[derive(Debug)]
struct Wallet;

/// The wallet service.
#[must_use]
pub fn module() -> impl Module {
    Wallet
}

impl Module for Wallet {
    fn name(&self) -> &'static str {
        "wallet"
    }

    fn migrations(&self) -> Option<&'static Migrator> {
        Some(&MIGRATIONS)
    }

    fn foreign_services(&self) -> &'static [&'static str] {
        &[coreloop_ops_api::integrity::SERVICE]
    }

    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        Box::pin(async move {
            let options = Options::read(&ctx.settings)?;
            let metrics = Metrics::default();
            ctx.metrics.with(|registry| metrics.register(registry));
            let acts = Acts::of("wallet", Arc::clone(&ctx.ids))?;
            let app = Arc::new(App::new(options, ctx.require_db()?, Arc::clone(&ctx.clock), metrics, acts));
            let mut workers = worker::all(&app);
            workers.extend(Relay::of(&ctx, "wallet")?);
            let grpc = Grpc(Arc::clone(&app));
            let books = Arc::clone(&app);
            let ledger = move || {
                let app = Arc::clone(&books);
                async move { Ok(worker::checked(&app).await?.into()) }
            };
            let rpcs = Rpcs::new()
                .with(WalletServiceServer::new(grpc.clone()))
                .with(WalletAdminServiceServer::new(grpc.clone()))
                .with(WalletInternalServiceServer::new(grpc))
                .with(Checks::of("wallet").with("ledger", ledger).server());
            let db = app.db.clone();
            let postgres = Check::new("wallet/postgres", move || {
                let db = db.clone();
                async move { coreloop_db::check(&db).await }
            });
            Ok(Built { rpcs, http: None, workers, checks: vec![postgres] })
        })
    }
}
