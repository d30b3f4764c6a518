//! The near end: an event is written in the transaction of the change it tells of.

use coreloop_core::{Fact, Ids};
use coreloop_service::Call;
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, store, topic};

/// Largest payload of an event, as JSON.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// The outbox of one service.
///
/// Order is kept per key **as the writers give it**: two transactions that write events of one aggregate must hold the
/// aggregate's row lock while they write, as any change of it does anyway. Then the second is numbered after the first is
/// committed, and no reader can see the second without the first.
#[derive(Debug, Clone)]
pub struct Outbox {
    sql: store::outbox::Statements,
}

/// An event to write.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) domain: String,
    pub(crate) key: String,
    pub(crate) event: String,
    pub(crate) payload: serde_json::Value,
    pub(crate) version: i32,
}

/// Facts about one aggregate, in order.
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
        let payload =
            serde_json::from_slice(&json).map_err(|error| Error::Codec(coreloop_core::Problem::internal(error)))?;
        let (id, version) = (ids.uuid(), i32::try_from(kind.version).unwrap_or_default());
        self.rows.push(Row { id, domain: kind.domain, key: key.into(), event: kind.event, payload, version });
        Ok(id)
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
