//! The service as the process sees it.

use std::{sync::Arc, time::Duration};

use coreloop_eventing::{Brokers, Consumer, Parts, Queue, Relay};
use coreloop_facts::v1::{
    AuthUserWithdrawn, CharacterAcquireFailed, CharacterAcquired, MyProfileUpdated, RewardsRedemptionFailed,
    RewardsRedemptionIssued, ScanFailed, ShopSettlementConfirmed, ShopSettlementVoided,
};
use coreloop_notification_api::v1::notification_service_server::NotificationServiceServer;
use coreloop_ops_api::integrity::Checks;
use coreloop_service::{BuildError, Built, Check, Ctx, Module, Rpcs, Worker};
use futures::future::BoxFuture;
use sqlx::migrate::Migrator;

use crate::{App, app::command_bus, grpc::Grpc, hearing::Hearing, integrity, pushing::Pusher, sweeping};

/// The schema `notification`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// What a command may take beside the gateway's time.
const BESIDE: Duration = Duration::from_secs(5);
/// Answers of the gateway that one command may need: a token, a push, another token, the push again.
const ANSWERS: u32 = 4;

#[derive(Debug)]
struct Notification;

/// The notification service.
#[must_use]
pub fn module() -> impl Module {
    Notification
}

impl Module for Notification {
    fn name(&self) -> &'static str {
        "notification"
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
            workers.extend(Relay::of(&ctx, "notification")?);
            workers.extend(hearing(&app, &ctx)?);
            workers.extend(pusher(&app, &ctx)?);
            let checked = app.db.clone();
            let inbox = move || {
                let db = checked.clone();
                async move { Ok(integrity::verify(&db).await?) }
            };
            let rpcs = Rpcs::new()
                .with(NotificationServiceServer::new(Grpc(Arc::clone(&app))))
                .with(Checks::of("notification").with("inbox", inbox).server())
                .with(coreloop_ops_api::host::server(&ctx, "notification")?);
            let db = app.db.clone();
            let postgres = Check::new("notification/postgres", move || {
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
    let parts = Parts::of(ctx, "notification")?;
    let consumer = Consumer::new("notification.facts", parts, Hearing(Arc::clone(app)))?
        .hears::<CharacterAcquired>()?
        .hears::<CharacterAcquireFailed>()?
        .hears::<MyProfileUpdated>()?
        .hears::<ScanFailed>()?
        .hears::<RewardsRedemptionIssued>()?
        .hears::<RewardsRedemptionFailed>()?
        .hears::<ShopSettlementConfirmed>()?
        .hears::<ShopSettlementVoided>()?
        .hears::<AuthUserWithdrawn>()?;
    Ok(Some(consumer.worker()))
}

/// The worker of `notification.push`; none where there is no broker, or no gateway.
fn pusher(app: &Arc<App>, ctx: &Ctx) -> Result<Option<Worker>, BuildError> {
    let Some(bus) = command_bus(ctx)?.filter(|_| app.options.pushes()) else { return Ok(None) };
    let time = Duration::from_millis(app.options.push_timeout_ms).saturating_mul(ANSWERS) + BESIDE;
    let parts = Parts::of(ctx, "notification")?;
    let worker = Consumer::working(Queue::NOTIFICATION_PUSH, bus, parts, Pusher(Arc::clone(app)))?;
    Ok(Some(worker.within(time).at_once(app.options.pushes_at_once).worker()))
}
