//! The service as the process sees it.

use std::sync::Arc;

use coreloop_eventing::{Brokers, Consumer, Parts, Relay};
use coreloop_facts::v1::{
    AuthUserWithdrawn, CharacterAcquired, CharacterEvolved, CharacterLost, ImageDeleted, LocationVisited,
    MyProfileUpdated, ScanCompleted,
};
use coreloop_my_api::v1::my_service_server::MyServiceServer;
use coreloop_ops_api::integrity::Checks;
use coreloop_service::{BuildError, Built, Check, Ctx, Module, Rpcs, Worker};
use futures::future::BoxFuture;
use sqlx::migrate::Migrator;

use crate::{
    App,
    grpc::Grpc,
    hearing::Hearing,
    integrity,
    telling::{self, Telling},
};

/// The schema `my`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

#[derive(Debug)]
struct My;

/// The service of what users have come to.
#[must_use]
pub fn module() -> impl Module {
    My
}

impl Module for My {
    fn name(&self) -> &'static str {
        "my"
    }

    fn migrations(&self) -> Option<&'static Migrator> {
        Some(&MIGRATIONS)
    }

    fn requires(&self) -> &'static [&'static str] {
        &["auth", "character", "image"]
    }

    fn foreign_services(&self) -> &'static [&'static str] {
        &[coreloop_ops_api::host::SERVICE, coreloop_ops_api::integrity::SERVICE]
    }

    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        Box::pin(async move {
            let app = Arc::new(App::of(&ctx)?);
            let mut workers = vec![telling::again(&app)];
            workers.extend(Relay::of(&ctx, "my")?);
            workers.extend(consumers(&app, &ctx)?);
            let checked = app.db.clone();
            let people = move || {
                let db = checked.clone();
                async move { Ok(integrity::verify(&db).await?) }
            };
            let rpcs = Rpcs::new()
                .with(MyServiceServer::new(Grpc(Arc::clone(&app))))
                .with(Checks::of("my").with("people", people).server())
                .with(coreloop_ops_api::host::server(&ctx, "my")?);
            let db = app.db.clone();
            let postgres = Check::new("my/postgres", move || {
                let db = db.clone();
                async move { coreloop_db::check(&db).await }
            });
            Ok(Built { rpcs, http: None, workers, checks: vec![postgres] })
        })
    }
}

/// What hears others, and what tells auth; none where there is no broker.
fn consumers(app: &Arc<App>, ctx: &Ctx) -> Result<Vec<Worker>, BuildError> {
    if ctx.redis_client.is_none() && Brokers::of(ctx).events.is_none() {
        return Ok(Vec::new());
    }
    let hearing = Consumer::new("my.facts", Parts::of(ctx, "my")?, Hearing(Arc::clone(app)))?
        .hears::<ScanCompleted>()?
        .hears::<CharacterAcquired>()?
        .hears::<CharacterLost>()?
        .hears::<CharacterEvolved>()?
        .hears::<LocationVisited>()?
        .hears::<ImageDeleted>()?
        .hears::<AuthUserWithdrawn>()?;
    let telling = Consumer::passing("my.telling", Parts::of(ctx, "my")?, Telling(Arc::clone(app)))?
        .hears::<MyProfileUpdated>()?
        .hears::<AuthUserWithdrawn>()?;
    Ok(vec![hearing.worker(), telling.worker()])
}
