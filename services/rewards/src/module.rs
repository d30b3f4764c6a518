//! The service as the process sees it.

use std::sync::Arc;

use coreloop_eventing::{Consumer, Parts, Queue, Relay};
use coreloop_ops_api::integrity::Checks;
use coreloop_rewards_api::v1::{
    rewards_admin_service_server::RewardsAdminServiceServer,
    rewards_internal_service_server::RewardsInternalServiceServer, rewards_service_server::RewardsServiceServer,
};
use coreloop_service::{BuildError, Built, Check, Ctx, Module, Rpcs, Worker};
use futures::future::BoxFuture;
use sqlx::migrate::Migrator;

use crate::{App, app::command_bus, grpc::Grpc, integrity, issue::Issuer, worker};

/// The schema `rewards`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

#[derive(Debug)]
struct Rewards;

/// The rewards service.
#[must_use]
pub fn module() -> impl Module {
    Rewards
}

impl Module for Rewards {
    fn name(&self) -> &'static str {
        "rewards"
    }

    fn migrations(&self) -> Option<&'static Migrator> {
        Some(&MIGRATIONS)
    }

    fn requires(&self) -> &'static [&'static str] {
        &["auth", "wallet"]
    }

    fn foreign_services(&self) -> &'static [&'static str] {
        &[coreloop_ops_api::host::SERVICE, coreloop_ops_api::integrity::SERVICE]
    }

    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        Box::pin(async move {
            let app = Arc::new(App::of(&ctx)?);
            let mut workers = worker::all(&app);
            workers.extend(Relay::of(&ctx, "rewards")?);
            workers.extend(issuer(&app, &ctx)?);
            let grpc = Grpc(Arc::clone(&app));
            let shelf = Arc::clone(&app);
            let ended = move || {
                let app = Arc::clone(&shelf);
                async move { Ok(integrity::checked(&app).await?) }
            };
            let rpcs = Rpcs::new()
                .with(RewardsServiceServer::new(grpc.clone()))
                .with(RewardsAdminServiceServer::new(grpc.clone()))
                .with(RewardsInternalServiceServer::new(grpc))
                .with(Checks::of("rewards").with("ended", ended).server())
                .with(coreloop_ops_api::host::server(&ctx, "rewards")?);
            let db = app.db.clone();
            let postgres = Check::new("rewards/postgres", move || {
                let db = db.clone();
                async move { coreloop_db::check(&db).await }
            });
            Ok(Built { rpcs, http: None, workers, checks: vec![postgres] })
        })
    }
}

/// The worker of `rewards.issue`; none where there is no broker.
fn issuer(app: &Arc<App>, ctx: &Ctx) -> Result<Option<Worker>, BuildError> {
    let Some(bus) = command_bus(ctx)? else { return Ok(None) };
    let parts = Parts::of(ctx, "rewards")?;
    let consumer = Consumer::working(Queue::REWARDS_ISSUE, bus, parts, Issuer(Arc::clone(app)))?;
    Ok(Some(consumer.worker()))
}
