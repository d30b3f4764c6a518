//! The service as the process sees it.

use std::sync::Arc;

use coreloop_character_api::v1::{
    character_admin_service_server::CharacterAdminServiceServer,
    character_internal_service_server::CharacterInternalServiceServer,
    character_service_server::CharacterServiceServer,
};
use coreloop_eventing::{Brokers, Consumer, Parts, Relay};
use coreloop_facts::v1::{
    AuthUserWithdrawn, CharacterAcquired, CharacterClosed, CharacterEvolved, CharacterLost, RewardsGranted,
    ScanCompleted,
};
use coreloop_ops_api::integrity::Checks;
use coreloop_service::{BuildError, Built, Check, Ctx, Module, Rpcs, Worker};
use futures::future::BoxFuture;
use sqlx::migrate::Migrator;

use crate::{App, grpc::Grpc, hearing::Hearing, integrity, projecting::Projecting, worker};

/// The schema `character`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

#[derive(Debug)]
struct Character;

/// The character service.
#[must_use]
pub fn module() -> impl Module {
    Character
}

impl Module for Character {
    fn name(&self) -> &'static str {
        "character"
    }

    fn migrations(&self) -> Option<&'static Migrator> {
        Some(&MIGRATIONS)
    }

    fn requires(&self) -> &'static [&'static str] {
        &["auth"]
    }

    fn foreign_services(&self) -> &'static [&'static str] {
        &[coreloop_ops_api::host::SERVICE, coreloop_ops_api::integrity::SERVICE]
    }

    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        Box::pin(async move {
            let app = Arc::new(App::of(&ctx)?);
            let mut workers = worker::all(&app);
            workers.extend(Relay::of(&ctx, "character")?);
            workers.extend(consumers(&app, &ctx)?);
            let grpc = Grpc(Arc::clone(&app));
            let checked = app.db.clone();
            let collections = move || {
                let db = checked.clone();
                async move { Ok(integrity::verify(&db).await?) }
            };
            let rpcs = Rpcs::new()
                .with(CharacterServiceServer::new(grpc.clone()))
                .with(CharacterAdminServiceServer::new(grpc.clone()))
                .with(CharacterInternalServiceServer::new(grpc))
                .with(Checks::of("character").with("collections", collections).server())
                .with(coreloop_ops_api::host::server(&ctx, "character")?);
            let db = app.db.clone();
            let postgres = Check::new("character/postgres", move || {
                let db = db.clone();
                async move { coreloop_db::check(&db).await }
            });
            Ok(Built { rpcs, http: None, workers, checks: vec![postgres] })
        })
    }
}

/// What hears others, and what tells Redis; none where there is no broker.
fn consumers(app: &Arc<App>, ctx: &Ctx) -> Result<Vec<Worker>, BuildError> {
    if ctx.redis_client.is_none() && Brokers::of(ctx).events.is_none() {
        return Ok(Vec::new());
    }
    let hearing = Consumer::new("character.grants", Parts::of(ctx, "character")?, Hearing(Arc::clone(app)))?
        .hears::<ScanCompleted>()?
        .hears::<RewardsGranted>()?
        .hears::<AuthUserWithdrawn>()?;
    let projecting = Consumer::passing("character.views", Parts::of(ctx, "character")?, Projecting(Arc::clone(app)))?
        .hears::<CharacterAcquired>()?
        .hears::<CharacterLost>()?
        .hears::<CharacterEvolved>()?
        .hears::<CharacterClosed>()?;
    Ok(vec![hearing.worker(), projecting.worker()])
}
