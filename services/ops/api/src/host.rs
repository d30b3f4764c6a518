//! The dead letters of one service, served to ops.
//!
//! A service that hears events adds [`server`] to its RPCs and [`SERVICE`] to its foreign services.

use std::sync::Arc;

use coreloop_access::Caller;
use coreloop_core::{Clock, Kind, Problem};
use coreloop_eventing::{DeadLetter, DeadLetters, Depth, Filter};
use coreloop_service::{BuildError, Ctx};
use jiff::Timestamp;
use sqlx::PgPool;
use tonic::{Request, Response, Status};

use crate::v1::{
    self, DeadLetterFilter, OpsReason, dead_letter::Content, dead_letter_service_server::DeadLetterService,
    dead_letter_service_server::DeadLetterServiceServer,
};

/// Full name of the service, for `Module::foreign_services`.
pub const SERVICE: &str = "coreloop.ops.v1.DeadLetterService";

/// Domain of the reasons of ops.
pub const DOMAIN: &str = "ops";

/// Serves the dead letters of one service.
#[derive(Debug, Clone)]
pub struct Host {
    domain: &'static str,
    db: PgPool,
    letters: DeadLetters,
    clock: Arc<dyn Clock>,
}

/// The dead letters in `<domain>.held_events`.
///
/// # Errors
/// Without a database.
pub fn server(ctx: &Ctx, domain: &'static str) -> Result<DeadLetterServiceServer<Host>, BuildError> {
    let letters = DeadLetters::new(domain)?;
    Ok(DeadLetterServiceServer::new(Host { domain, db: ctx.require_db()?, letters, clock: Arc::clone(&ctx.clock) }))
}

/// A refusal with one of the reasons of ops.
#[must_use]
pub fn refused(reason: OpsReason, message: &'static str) -> Problem {
    let name = reason.as_str_name();
    Problem::new(Kind::NotFound, DOMAIN, name.strip_prefix("OPS_REASON_").unwrap_or(name), message)
}

impl Host {
    /// The filter, when it is about this service. Which of its consumers there are, only letters tell.
    fn filter(&self, asked: Option<DeadLetterFilter>) -> Result<Filter, Problem> {
        let asked = asked.unwrap_or_default();
        if asked.queue.split('.').next() != Some(self.domain) {
            return Err(refused(OpsReason::QueueUnknown, "the queue is another service's"));
        }
        Ok(Filter {
            consumer: asked.queue,
            reason: Some(asked.reason).filter(|reason| !reason.is_empty()),
            // Validation has seen to it that it is one; none of that spelling would be found otherwise.
            id: Some(asked.id).filter(|id| !id.is_empty()).map(|id| id.parse().unwrap_or_default()),
            after: asked.after,
            count: asked.count,
        })
    }

    async fn find(&self, filter: &Filter) -> Result<Vec<DeadLetter>, Problem> {
        let mut connection = self.db.acquire().await.map_err(coreloop_db::problem)?;
        // What they say is shown of one at a time.
        Ok(match filter.id {
            Some(_) => self.letters.list(&mut connection, filter).await?,
            None => self.letters.glance(&mut connection, filter).await?,
        })
    }

    async fn depths(&self) -> Result<Vec<Depth>, Problem> {
        let mut connection = self.db.acquire().await.map_err(coreloop_db::problem)?;
        Ok(self.letters.depths(&mut connection).await?)
    }

    async fn retry(&self, filter: &Filter) -> Result<u64, Problem> {
        let mut tx = coreloop_db::begin(&self.db).await?;
        let count = self.letters.reprocess(&mut tx, filter, self.clock.now()).await?;
        tx.commit().await?;
        Ok(count)
    }

    async fn discard(&self, filter: &Filter) -> Result<u64, Problem> {
        let mut tx = coreloop_db::begin(&self.db).await?;
        let count = self.letters.discard(&mut tx, filter, self.clock.now()).await?;
        tx.commit().await?;
        Ok(count)
    }
}

/// What administrators are shown; what it says only when one is asked for.
#[must_use]
pub fn shown(letter: DeadLetter, queue: &str, whole: bool) -> v1::DeadLetter {
    let said = || match String::from_utf8(letter.payload) {
        Ok(text) if serde_json::from_str::<serde_json::Value>(&text).is_ok() => Content::Json(text),
        Ok(text) => Content::Binary(text.into_bytes()),
        Err(bytes) => Content::Binary(bytes.into_bytes()),
    };
    v1::DeadLetter {
        id: letter.id.to_string(),
        queue: queue.to_owned(),
        topic: letter.topic,
        key: letter.key,
        archived: letter.archived,
        failures: letter.failures,
        reason: letter.reason,
        error: letter.error,
        died_at: Some(proto_time(letter.died_at)),
        envelope: if whole { letter.envelope } else { String::new() },
        content: whole.then(said),
    }
}

/// A queue, as administrators are shown it.
#[must_use]
pub fn queue(depth: Depth) -> v1::Queue {
    v1::Queue {
        queue: depth.consumer,
        dead: depth.dead,
        archived: depth.archived,
        waiting: depth.waiting,
        oldest_at: depth.oldest_at.map(proto_time),
    }
}

/// A time as the contract says it.
#[must_use]
pub fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

fn counted(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[tonic::async_trait]
impl DeadLetterService for Host {
    async fn count_dead_letters(
        &self,
        request: Request<v1::CountDeadLettersRequest>,
    ) -> Result<Response<v1::CountDeadLettersResponse>, Status> {
        Caller::of(&request)?.require_machine()?;
        let queues = self.depths().await?.into_iter().map(queue).collect();
        Ok(Response::new(v1::CountDeadLettersResponse { queues }))
    }

    async fn find_dead_letters(
        &self,
        request: Request<v1::FindDeadLettersRequest>,
    ) -> Result<Response<v1::FindDeadLettersResponse>, Status> {
        Caller::of(&request)?.require_user()?;
        let mut filter = self.filter(request.into_inner().filter)?;
        let most = usize::try_from(filter.count).unwrap_or(usize::MAX);
        filter.count = filter.count.saturating_add(1);
        let mut letters = self.find(&filter).await?;
        let more = letters.len() > most;
        letters.truncate(most);
        let next = letters.last().filter(|_| more).map(|letter| letter.position).unwrap_or_default();
        let dead_letters = letters.into_iter().map(|letter| shown(letter, &filter.consumer, filter.id.is_some()));
        Ok(Response::new(v1::FindDeadLettersResponse { dead_letters: dead_letters.collect(), next }))
    }

    async fn retry_dead_letters(
        &self,
        request: Request<v1::RetryDeadLettersRequest>,
    ) -> Result<Response<v1::RetryDeadLettersResponse>, Status> {
        let by = Caller::of(&request)?.require_user()?.user_id;
        let filter = self.filter(request.into_inner().filter)?;
        let retried = counted(self.retry(&filter).await?);
        tracing::info!(queue = filter.consumer, retried, %by, "dead letters are tried again");
        Ok(Response::new(v1::RetryDeadLettersResponse { retried }))
    }

    async fn drop_dead_letters(
        &self,
        request: Request<v1::DropDeadLettersRequest>,
    ) -> Result<Response<v1::DropDeadLettersResponse>, Status> {
        let by = Caller::of(&request)?.require_user()?.user_id;
        let filter = self.filter(request.into_inner().filter)?;
        let dropped = counted(self.discard(&filter).await?);
        tracing::info!(queue = filter.consumer, dropped, %by, "dead letters were deleted");
        Ok(Response::new(v1::DropDeadLettersResponse { dropped }))
    }
}
