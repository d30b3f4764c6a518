//! The near end: an event is written in the transaction of the change it tells of, and a command in that of the change
//! that makes it due.

use coreloop_core::{Fact, Ids, Problem};
use coreloop_service::Call;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Queue, command, store, topic};

/// Largest payload of an event, as JSON.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// Largest command: its payload and its key, as JSON. The smallest of the brokers, SQS, takes 256 KiB with the envelope.
pub const MAX_COMMAND_BYTES: usize = 240 << 10;

/// `aggregatetype` of a row that is a command; its `type` is the queue. No domain has this name.
pub(crate) const COMMAND: &str = "cmd";
/// What the payload of such a row holds.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency_key";
pub(crate) const PAYLOAD: &str = "payload";

/// The outbox of one service.
///
/// Order is kept per key **as the writers give it**: two transactions that write events of one aggregate must hold the
/// aggregate's row lock while they write, as any change of it does anyway. Then the second is numbered after the first is
/// committed, and no reader can see the second without the first.
#[derive(Debug, Clone)]
pub struct Outbox {
    sql: store::outbox::Statements,
}

/// An event or a command to write.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) domain: String,
    pub(crate) key: String,
    pub(crate) event: String,
    pub(crate) payload: serde_json::Value,
    pub(crate) version: i32,
}

/// Facts about one aggregate, and commands that it makes due, in order.
#[derive(Debug, Default)]
pub struct Facts {
    rows: Vec<Row>,
}

impl Facts {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `fact` about the aggregate `key`.
    ///
    /// # Errors
    /// [`Error::Codec`] for a message that is not in the committed descriptors, [`Error::TooLarge`].
    pub fn add<F: Fact>(&mut self, ids: &dyn Ids, key: impl Into<String>, fact: &F) -> Result<Uuid, Error> {
        let kind = topic::Kind::of(F::TYPE)?;
        let json = coreloop_transcode::message::to_json(F::TYPE, &fact.encode_to_vec()).map_err(Error::Codec)?;
        if json.len() > MAX_PAYLOAD_BYTES {
            return Err(Error::TooLarge(json.len()));
        }
        let payload = serde_json::from_slice(&json).map_err(|error| Error::Codec(Problem::internal(error)))?;
        let (id, version) = (ids.uuid(), i32::try_from(kind.version).unwrap_or_default());
        self.rows.push(Row { id, domain: kind.domain, key: key.into(), event: kind.event, payload, version });
        Ok(id)
    }

    /// Adds a command, which the relay sends when the transaction is committed: as [`crate::Commands::send`] does, but never
    /// without the change that makes it due, and never lost with a broker that was away. Commands of one key are sent in the
    /// order in which they were written.
    ///
    /// # Errors
    /// [`Error::Codec`] for what is no JSON, [`Error::TooLarge`].
    pub fn command(
        &mut self,
        ids: &dyn Ids,
        queue: Queue,
        key: impl Into<String>,
        idempotency_key: Uuid,
        payload: &impl Serialize,
    ) -> Result<(), Error> {
        let key = key.into();
        let json = command::written(&key, payload)?;
        let payload: serde_json::Value =
            serde_json::from_slice(&json).map_err(|error| Error::Codec(Problem::internal(error)))?;
        // The row has an id of its own: a command may be sent again while the row of the first time is kept.
        let payload = json!({ IDEMPOTENCY_KEY: idempotency_key, PAYLOAD: payload });
        let (domain, event) = (COMMAND.to_owned(), queue.name().to_owned());
        self.rows.push(Row { id: ids.uuid(), domain, key, event, payload, version: command::VERSION.cast_signed() });
        Ok(())
    }
}

impl Outbox {
    /// The outbox in `<schema>.outbox`.
    ///
    /// # Errors
    /// A schema that is no plain identifier.
    pub fn new(schema: &str) -> Result<Self, Error> {
        Ok(Self { sql: store::outbox::Statements::of(topic::plain(schema)?) })
    }

    /// Writes `facts` in the transaction of `connection`, with the trace and the request id of the call that runs. One
    /// statement, however many there are; the relay is woken by the commit.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn write(&self, connection: &mut PgConnection, facts: &Facts, now: Timestamp) -> Result<(), Error> {
        if facts.rows.is_empty() {
            return Ok(());
        }
        let call = Call::current();
        let origin = store::outbox::Origin {
            trace_id: call.as_ref().map(|call| call.trace.trace_id_hex()).unwrap_or_default(),
            traceparent: call.as_ref().map(|call| call.trace.header()).unwrap_or_default(),
            request_id: call
                .as_ref()
                .and_then(|call| call.request_id.to_str().ok())
                .map(str::to_owned)
                .unwrap_or_default(),
            now,
        };
        Ok(store::outbox::insert(connection, &self.sql, &facts.rows, &origin).await?)
    }
}
