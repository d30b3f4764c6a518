//! Commands: work to be done, once, by whoever has the queue (chapter 06, item 5).
//!
//! A command names its queue, its key (commands of one key in one queue are done one after another) and its idempotency
//! key: sent or delivered twice, it is done once as far as our own records go. The work itself may call others, so no
//! transaction is open while it runs; what it answered and what follows from it are written in one afterwards. Killed
//! between the two, the work comes to be asked for again with the same idempotency key, and whoever is called must know it.
//!
//! **A broker is no record.** Redis may lose what it was told a moment ago. Who must not lose a command writes it into the
//! outbox, in the transaction that makes it due ([`crate::Facts::command`]), or notes that it is due and sends it again until
//! its effect is there: that does no harm here.

mod queue;
mod wire;

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use coreloop_core::{Clock, Problem};
use coreloop_db::Transaction;
use coreloop_service::Call;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use uuid::Uuid;

pub use self::queue::Queue;
use crate::{Error, Event, Failure, MAX_COMMAND_BYTES, bus::Reader};

/// Version of the payloads that are written.
pub(crate) const VERSION: u32 = 1;

/// A command's payload as it is written.
///
/// # Errors
/// [`Error::Codec`] for what is no JSON, [`Error::TooLarge`] for what not every broker takes.
pub(crate) fn written(key: &str, payload: &impl Serialize) -> Result<Vec<u8>, Error> {
    let codec = |error| Error::Codec(Problem::internal(error));
    let json = serde_json::to_vec(payload).map_err(codec)?;
    let bytes = json.len() + serde_json::to_string(key).map_err(codec)?.len();
    if bytes > MAX_COMMAND_BYTES { Err(Error::TooLarge(bytes)) } else { Ok(json) }
}

/// Work to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Where it waits.
    pub queue: Queue,
    /// Commands of one key are done in the order in which they were sent.
    pub key: String,
    /// However often it is sent, it is done once.
    pub idempotency_key: Uuid,
    /// Trace of what asked for it (32 hex digits); may be empty.
    pub trace_id: String,
    /// W3C trace context of what asked for it; may be empty.
    pub traceparent: String,
    /// Id of the request that asked for it; may be empty.
    pub request_id: String,
    /// When it was asked for.
    pub timestamp: Timestamp,
    /// Service that asks.
    pub source: String,
    /// Version of the payload.
    pub version: u32,
    /// What is to be done, as JSON.
    pub payload: Bytes,
}

impl Command {
    /// What is to be done.
    ///
    /// # Errors
    /// [`Failure::Permanent`] for a version that this build does not know, or a payload that is no `T`: trying again would not help,
    /// but a worker that was taught may be given the dead letter.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        if self.version != VERSION {
            let what = format!("version {} of {} is not known", self.version, self.queue.name());
            return Err(Failure::permanent("UNKNOWN_VERSION", what));
        }
        serde_json::from_slice(&self.payload)
            .map_err(|error| Failure::permanent("MALFORMED_COMMAND", error.to_string()))
    }

    /// As the workers' machinery, which is that of events, carries it.
    pub(crate) fn of(queue: Queue, event: &Event) -> Self {
        Self {
            queue,
            key: event.key.clone(),
            idempotency_key: event.id,
            trace_id: event.trace_id.clone(),
            traceparent: event.traceparent.clone(),
            request_id: event.request_id.clone(),
            timestamp: event.created_at,
            source: event.source.clone(),
            version: event.version,
            payload: event.payload.clone(),
        }
    }
}

/// Not all of what was sent together is known to be with the broker.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct SendError {
    /// Places, among what was sent and from nought, of the commands that the broker has for certain. The others it refused, never
    /// saw, or has without having said so.
    pub taken: Vec<usize>,
    /// What became of the others.
    pub source: Error,
}

/// Of nothing it is known that the broker has it.
impl From<Error> for SendError {
    fn from(source: Error) -> Self {
        Self { taken: Vec::new(), source }
    }
}

/// For whoever sent one, or sends all of it again.
impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        error.source
    }
}

/// A transport of commands. What it must hold: what [`CommandBus::send`] has answered waits in its queue until it is
/// acknowledged; a queue has one reader at a time, and whoever was replaced learns it; what was read and not acknowledged
/// is read again by the next reader.
#[async_trait]
pub trait CommandBus: Debug + Send + Sync + 'static {
    /// Puts commands of one queue into it, in order, and answers when the broker has them. An error says which it has: none of
    /// them on a broker that takes all or nothing, else the first so many of each key, so the rest of each may follow later.
    /// [`Error::Full`] when they do not fit. What is sent again does no harm.
    async fn send(&self, queue: Queue, commands: &[Command]) -> Result<(), SendError>;

    /// Becomes the queue's reader under the name `token`. What readers before left open comes first.
    async fn work(&self, queue: Queue, token: Uuid) -> Result<Box<dyn Reader>, Error>;
}

/// The near end: sends commands in the name of a service.
#[derive(Clone)]
pub struct Commands {
    bus: Arc<dyn CommandBus>,
    clock: Arc<dyn Clock>,
    source: String,
}

impl Debug for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commands").field("bus", &self.bus).field("source", &self.source).finish_non_exhaustive()
    }
}

impl Commands {
    /// Commands of the service `source` over `bus`.
    #[must_use]
    pub fn new(bus: Arc<dyn CommandBus>, clock: Arc<dyn Clock>, source: &str) -> Self {
        Self { bus, clock, source: source.to_owned() }
    }

    /// Sends a command, with the trace and the request id of the call that runs. After an error it may have been sent: it
    /// is safe to send it again.
    ///
    /// # Errors
    /// [`Error::Full`]; [`Error::TooLarge`]; what the broker says.
    pub async fn send(
        &self,
        queue: Queue,
        key: impl Into<String>,
        idempotency_key: Uuid,
        payload: &impl Serialize,
    ) -> Result<(), Error> {
        let key = key.into();
        let json = written(&key, payload)?;
        let call = Call::current();
        let command = Command {
            queue,
            key,
            idempotency_key,
            trace_id: call.as_ref().map(|call| call.trace.trace_id_hex()).unwrap_or_default(),
            traceparent: call.as_ref().map(|call| call.trace.header()).unwrap_or_default(),
            request_id: call
                .as_ref()
                .and_then(|call| call.request_id.to_str().ok())
                .map(str::to_owned)
                .unwrap_or_default(),
            timestamp: self.clock.now(),
            source: self.source.clone(),
            version: VERSION,
            payload: json.into(),
        };
        Ok(self.bus.send(queue, &[command]).await?)
    }
}

/// What is done with the commands of a queue.
#[async_trait]
pub trait CommandHandler: Send + Sync + 'static {
    /// Does the work. No transaction is open, so others may be called. **It may come to be done again** with the same
    /// idempotency key, which is what others are to be called with. Answers what is to be kept of it.
    async fn act(&self, command: &Command) -> Result<Value, Failure>;

    /// Writes what follows from it, in the transaction that also notes that it was done: once.
    async fn settle(&self, transaction: &mut Transaction, command: &Command, result: &Value) -> Result<(), Failure>;

    /// Writes what follows from its death: it was given up for `failure`, by us or by the broker, and is a dead letter from this
    /// transaction on. Once a death: whoever looks after dead letters may have it tried again, and then it may be settled, or die
    /// again. A hook that goes on failing is left out and its error noted with the letter, so that the letter itself is kept.
    async fn died(
        &self,
        _transaction: &mut Transaction,
        _command: &Command,
        _failure: &Failure,
    ) -> Result<(), Failure> {
        Ok(())
    }
}
