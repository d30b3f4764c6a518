//! The service as the process sees it.

use std::sync::Arc;

use coreloop_chat_api::v1::chat_service_server::ChatServiceServer;
use coreloop_eventing::{Brokers, Consumer, Parts, Queue, Relay};
use coreloop_facts::v1::{
    AuthUserWithdrawn, ChatConversationDeleted, ChatMessageAnswered, ChatMessageFailed, ImageDeleted,
};
use coreloop_service::{BuildError, Built, Check, Ctx, Module, Rpcs, Worker};
use futures::future::BoxFuture;
use sqlx::migrate::Migrator;

use crate::{
    App,
    answering::{self, Answering},
    app::command_bus,
    grpc::Grpc,
    hearing::Hearing,
    leaving::Leaving,
    listening, sweeping,
    telling::Telling,
};

/// The schema `chat`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

#[derive(Debug)]
struct Chat;

/// The chat service.
#[must_use]
pub fn module() -> impl Module {
    Chat
}

impl Module for Chat {
    fn name(&self) -> &'static str {
        "chat"
    }

    fn migrations(&self) -> Option<&'static Migrator> {
        Some(&MIGRATIONS)
    }

    fn requires(&self) -> &'static [&'static str] {
        &["auth", "character", "image", "scan"]
    }

    fn foreign_services(&self) -> &'static [&'static str] {
        &[coreloop_ops_api::host::SERVICE]
    }

    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        Box::pin(async move {
            let app = Arc::new(App::of(&ctx)?);
            let mut workers = vec![sweeping::worker(&app), listening::worker(&app, ctx.redis_client.clone())];
            workers.extend(Relay::of(&ctx, "chat")?);
            workers.extend(consumers(&app, &ctx)?);
            workers.extend(answering(&app, &ctx)?);
            let rpcs = Rpcs::new()
                .with(ChatServiceServer::new(Grpc(Arc::clone(&app))))
                .with(coreloop_ops_api::host::server(&ctx, "chat")?);
            let db = app.db.clone();
            let postgres = Check::new("chat/postgres", move || {
                let db = db.clone();
                async move { coreloop_db::check(&db).await }
            });
            Ok(Built { rpcs, http: None, workers, checks: vec![postgres] })
        })
    }
}

/// What hears others and ourselves; none where there is no broker.
fn consumers(app: &Arc<App>, ctx: &Ctx) -> Result<Vec<Worker>, BuildError> {
    if ctx.redis_client.is_none() && Brokers::of(ctx).events.is_none() {
        return Ok(Vec::new());
    }
    let parts = Parts::of(ctx, "chat")?;
    let images = Consumer::new("chat.images", parts.clone(), Hearing)?.hears::<ImageDeleted>()?;
    let leaving = Consumer::passing("chat.leaving", parts.clone(), Leaving(Arc::clone(app)))?;
    let leaving = leaving.hears::<AuthUserWithdrawn>()?;
    let telling = Consumer::passing("chat.telling", parts, Telling(Arc::clone(app)))?
        .hears::<ChatMessageAnswered>()?
        .hears::<ChatMessageFailed>()?
        .hears::<ChatConversationDeleted>()?;
    Ok(vec![images.worker(), leaving.worker(), telling.worker()])
}

/// The worker of `chat.pipeline`; none where there is no model.
fn answering(app: &Arc<App>, ctx: &Ctx) -> Result<Option<Worker>, BuildError> {
    let Some(bus) = command_bus(ctx)?.filter(|_| app.answers) else { return Ok(None) };
    let handler = Answering(Arc::clone(app));
    let worker = Consumer::working(Queue::CHAT_PIPELINE, bus, Parts::of(ctx, "chat")?, handler)?;
    Ok(Some(worker.within(answering::time(app)).at_once(app.options.workers).worker()))
}
