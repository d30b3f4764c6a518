//! The service as the process sees it.

use std::sync::Arc;

use coreloop_eventing::{Consumer, Parts, Queue, Relay};
use coreloop_facts::v1::{AuthUserWithdrawn, ImageDeleted};
use coreloop_image_api::v1::{
    image_internal_service_server::ImageInternalServiceServer, image_service_server::ImageServiceServer,
};
use coreloop_ops_api::integrity::Checks;
use coreloop_service::{BuildError, Built, Check, Ctx, Module, Rpcs, Worker};
use futures::future::BoxFuture;
use sqlx::migrate::Migrator;

use crate::{
    App,
    app::command_bus,
    grpc::Grpc,
    integrity,
    leaving::Leaving,
    processing::{self, Processor},
    removing::Removal,
    sweeping,
};

/// The schema `image`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

#[derive(Debug)]
struct Image;

/// The image service.
#[must_use]
pub fn module() -> impl Module {
    Image
}

impl Module for Image {
    fn name(&self) -> &'static str {
        "image"
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
            let mut workers = vec![sweeping::worker(&app)];
            workers.extend(Relay::of(&ctx, "image")?);
            workers.extend(consumers(&app, &ctx)?);
            workers.extend(processor(&app, &ctx)?);
            let grpc = Grpc(Arc::clone(&app));
            let checked = app.db.clone();
            let images = move || {
                let db = checked.clone();
                async move { Ok(integrity::verify(&db).await?) }
            };
            let rpcs = Rpcs::new()
                .with(ImageServiceServer::new(grpc.clone()))
                .with(ImageInternalServiceServer::new(grpc))
                .with(Checks::of("image").with("images", images).server())
                .with(coreloop_ops_api::host::server(&ctx, "image")?);
            let db = app.db.clone();
            let postgres = Check::new("image/postgres", move || {
                let db = db.clone();
                async move { coreloop_db::check(&db).await }
            });
            Ok(Built { rpcs, http: None, workers, checks: vec![postgres] })
        })
    }
}

/// What removes what was marked, and marks what is of closed accounts; none where there is no broker.
fn consumers(app: &Arc<App>, ctx: &Ctx) -> Result<Vec<Worker>, BuildError> {
    if ctx.redis_client.is_none() && coreloop_eventing::Brokers::of(ctx).events.is_none() {
        return Ok(Vec::new());
    }
    let parts = Parts::of(ctx, "image")?;
    let leaving = Consumer::passing("image.leaving", parts.clone(), Leaving(Arc::clone(app)))?;
    let removal = Consumer::passing("image.removal", parts, Removal(Arc::clone(app)))?;
    Ok(vec![leaving.hears::<AuthUserWithdrawn>()?.worker(), removal.hears::<ImageDeleted>()?.worker()])
}

/// The worker of `image.process`, one photo at a time; none where there is no broker.
fn processor(app: &Arc<App>, ctx: &Ctx) -> Result<Option<Worker>, BuildError> {
    let Some(bus) = command_bus(ctx)? else { return Ok(None) };
    let worker = Consumer::working(Queue::IMAGE_PROCESS, bus, Parts::of(ctx, "image")?, Processor::of(app))?;
    Ok(Some(worker.within(processing::longest(app)).at_once(1).worker()))
}
