//! What every handler works with.

use std::{sync::Arc, time::Duration};

use coreloop_core::{Clock, Ids};
use coreloop_eventing::{Brokers, CommandBus, Outbox};
use coreloop_eventstore::EventStore;
use coreloop_service::{BuildError, Ctx};
use sqlx::PgPool;

use crate::{Options, hub::Hub, metrics::Metrics, model::Model, neighbours::Neighbours, pieces::Pieces, said::Memory};

/// Answers that are remembered beyond those that are given at once.
const REMEMBERED: u32 = 64;

/// The running service.
#[derive(Debug)]
pub struct App {
    /// Settings.
    pub options: Options,
    /// The service's own database: its role, its schema.
    pub db: PgPool,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Events and commands on their way out.
    pub outbox: Outbox,
    /// The histories of conversations.
    pub history: EventStore,
    /// Who knows what a conversation is about.
    pub neighbours: Neighbours,
    /// The model.
    pub model: Model,
    /// What it has just said.
    pub said: Memory,
    /// Pieces of answers.
    pub pieces: Pieces,
    /// Who follows what here.
    pub hub: Arc<Hub>,
    /// There is a model, and what carries commands to it.
    pub answers: bool,
    /// Metrics.
    pub metrics: Metrics,
}

impl App {
    /// The service of a process.
    ///
    /// # Errors
    /// Wrong settings, no database.
    pub fn of(ctx: &Ctx) -> Result<Self, BuildError> {
        let options = Options::read(&ctx.settings, ctx.mode)?;
        let metrics = Metrics::default();
        ctx.metrics.with(|registry| metrics.register(registry));
        let every = Duration::from_millis(options.piece_ms);
        let remembered = options.workers.saturating_add(REMEMBERED);
        Ok(Self {
            db: ctx.require_db()?,
            clock: Arc::clone(&ctx.clock),
            ids: Arc::clone(&ctx.ids),
            outbox: Outbox::new("chat")?,
            history: EventStore::new("chat")?,
            neighbours: Neighbours::of(ctx, &options),
            model: Model::of(&options),
            said: Memory::of(usize::try_from(remembered).unwrap_or(usize::MAX)),
            pieces: Pieces::new(ctx.redis.clone(), options.redis_timeout_ms, every, options.pieces_secs),
            hub: Arc::new(Hub::new(options.streams_per_user, metrics.streams.clone())),
            answers: !options.model_url.is_empty() && command_bus(ctx)?.is_some(),
            options,
            metrics,
        })
    }
}

/// What carries commands; none where there is no broker.
///
/// # Errors
/// When the broker is set and cannot be used.
pub fn command_bus(ctx: &Ctx) -> Result<Option<Arc<dyn CommandBus>>, BuildError> {
    let brokers = Brokers::of(ctx);
    if brokers.commands.is_none() && ctx.redis_client.is_none() {
        return Ok(None);
    }
    brokers.commands(ctx).map(Some)
}
