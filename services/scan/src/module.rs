//! The service as the process sees it.

use std::{sync::Arc, time::Duration};

use coreloop_eventing::{Brokers, Consumer, Parts, Queue, Relay};
use coreloop_facts::v1::{AuthUserWithdrawn, CharacterAcquireFailed, CharacterAcquired, ImageDeleted, ImageRegistered};
use coreloop_ops_api::integrity::Checks;
use coreloop_scan_api::v1::{
    scan_internal_service_server::ScanInternalServiceServer, scan_service_server::ScanServiceServer,
};
use coreloop_service::{BuildError, Built, Check, Ctx, Module, Rpcs, Worker};
use futures::future::BoxFuture;
use sqlx::migrate::Migrator;

use crate::{App, app::command_bus, classifier::Classifier, grpc::Grpc, hearing::Hearing, integrity, sweeping};

/// The schema `scan`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// What a command may take beside the model's time: asking for the photo, writing.
const BESIDE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Scan;

/// The scan service.
#[must_use]
pub fn module() -> impl Module {
    Scan
}

impl Module for Scan {
    fn name(&self) -> &'static str {
        "scan"
    }

    fn migrations(&self) -> Option<&'static Migrator> {
        Some(&MIGRATIONS)
    }

    fn requires(&self) -> &'static [&'static str] {
        &["auth", "image"]
    }

    fn foreign_services(&self) -> &'static [&'static str] {
        &[coreloop_ops_api::host::SERVICE, coreloop_ops_api::integrity::SERVICE]
    }

    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        Box::pin(async move {
            let app = Arc::new(App::of(&ctx)?);
            let mut workers = vec![sweeping::worker(&app)];
            workers.extend(Relay::of(&ctx, "scan")?);
            workers.extend(hearing(&app, &ctx)?);
            workers.extend(classifier(&app, &ctx)?);
            let grpc = Grpc(Arc::clone(&app));
            let checked = app.db.clone();
            let tasks = move || {
                let db = checked.clone();
                async move { Ok(integrity::verify(&db).await?) }
            };
            let rpcs = Rpcs::new()
                .with(ScanServiceServer::new(grpc.clone()))
                .with(ScanInternalServiceServer::new(grpc))
                .with(Checks::of("scan").with("tasks", tasks).server())
                .with(coreloop_ops_api::host::server(&ctx, "scan")?);
            let db = app.db.clone();
            let postgres = Check::new("scan/postgres", move || {
                let db = db.clone();
                async move { coreloop_db::check(&db).await }
            });
            Ok(Built { rpcs, http: None, workers, checks: vec![postgres] })
        })
    }
}

/// The consumer of what others say; none where there is no broker.
fn hearing(app: &Arc<App>, ctx: &Ctx) -> Result<Option<Worker>, BuildError> {
    if ctx.redis_client.is_none() && Brokers::of(ctx).events.is_none() {
        return Ok(None);
    }
    let consumer = Consumer::new("scan.facts", Parts::of(ctx, "scan")?, Hearing(Arc::clone(app)))?;
    let consumer = consumer.hears::<ImageRegistered>()?.hears::<ImageDeleted>()?.hears::<AuthUserWithdrawn>()?;
    Ok(Some(consumer.hears::<CharacterAcquired>()?.hears::<CharacterAcquireFailed>()?.worker()))
}

/// The worker of `scan.classify`; none where others classify, or nobody can yet.
fn classifier(app: &Arc<App>, ctx: &Ctx) -> Result<Option<Worker>, BuildError> {
    let Some(bus) = command_bus(ctx)?.filter(|_| app.sends) else { return Ok(None) };
    let time = Duration::from_millis(app.options.model_timeout_ms) + BESIDE;
    let worker = Consumer::working(Queue::SCAN_CLASSIFY, bus, Parts::of(ctx, "scan")?, Classifier(Arc::clone(app)))?;
    Ok(Some(worker.within(time).at_once(app.options.workers).worker()))
}
