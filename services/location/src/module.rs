//! The service as the process sees it.

use std::sync::Arc;

use coreloop_eventing::{Brokers, Consumer, Parts, Relay};
use coreloop_facts::v1::AuthUserWithdrawn;
use coreloop_location_api::v1::location_service_server::LocationServiceServer;
use coreloop_service::{BuildError, Built, Check, Ctx, Module, Rpcs, Worker};
use futures::future::BoxFuture;
use sqlx::migrate::Migrator;

use crate::{App, grpc::Grpc, hearing::Leaving, worker};

/// The schema `location`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");
/// Largest message, in bytes: of a stream nobody else looks.
const MOST: usize = 1 << 20;

#[derive(Debug)]
struct Location;

/// The location service.
#[must_use]
pub fn module() -> impl Module {
    Location
}

impl Module for Location {
    fn name(&self) -> &'static str {
        "location"
    }

    fn migrations(&self) -> Option<&'static Migrator> {
        Some(&MIGRATIONS)
    }

    fn requires(&self) -> &'static [&'static str] {
        &["auth"]
    }

    fn foreign_services(&self) -> &'static [&'static str] {
        &[coreloop_ops_api::host::SERVICE]
    }

    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        Box::pin(async move {
            let app = Arc::new(App::of(&ctx)?);
            let mut workers = worker::all(&app);
            workers.extend(Relay::of(&ctx, "location")?);
            workers.extend(leaving(&app, &ctx)?);
            let server = LocationServiceServer::new(Grpc(Arc::clone(&app))).max_decoding_message_size(MOST);
            let rpcs = Rpcs::new().with(server).with(coreloop_ops_api::host::server(&ctx, "location")?);
            let db = app.db.clone();
            let postgres = Check::new("location/postgres", move || {
                let db = db.clone();
                async move { coreloop_db::check(&db).await }
            });
            Ok(Built { rpcs, http: None, workers, checks: vec![postgres] })
        })
    }
}

/// The consumer of what others say; none where there is no broker.
fn leaving(app: &Arc<App>, ctx: &Ctx) -> Result<Option<Worker>, BuildError> {
    if ctx.redis_client.is_none() && Brokers::of(ctx).events.is_none() {
        return Ok(None);
    }
    let consumer = Consumer::new("location.leaving", Parts::of(ctx, "location")?, Leaving(Arc::clone(app)))?;
    Ok(Some(consumer.hears::<AuthUserWithdrawn>()?.worker()))
}
