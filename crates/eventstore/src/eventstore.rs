//! The histories of one domain.

use coreloop_core::Ids;
use coreloop_db::ConstraintKind;
use coreloop_service::Call;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Aggregate, Error, Loaded, SNAPSHOT_EVERY,
    history::Written,
    store::{self, Key, Place, Row, Statements},
};

/// No snapshot has this schema number.
const WITHOUT_SNAPSHOTS: i32 = 0;

/// The histories in the tables of one domain.
#[derive(Debug, Clone)]
pub struct EventStore {
    sql: Statements,
    every: i64,
}

/// When a state was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// After so many events.
    Version(i64),
    /// After all events up to and with this instant.
    Instant(Timestamp),
}

/// An event with what is known of its writing.
#[derive(Debug, Clone)]
pub struct Recorded<E> {
    /// Its number in the history, from 1.
    pub sequence: i64,
    /// Its id.
    pub id: Uuid,
    /// When it was written; never before the one it follows.
    pub at: Timestamp,
    /// Trace of the call that wrote it; empty when no call did.
    pub trace_id: String,
    /// Request of that call.
    pub request_id: String,
    /// What happened.
    pub event: E,
}

impl EventStore {
    /// Those in `<schema>.events`, with `<schema>.snapshots` ([`crate::migration`]).
    ///
    /// # Errors
    /// A schema that is no plain identifier.
    pub fn new(schema: &str) -> Result<Self, Error> {
        Ok(Self { sql: Statements::of(coreloop_db::identifier(schema)?, "events", true), every: SNAPSHOT_EVERY })
    }

    /// Those in `<schema>.<table>`, without snapshots. The table has the columns of the template, and its unique constraint
    /// is `<table>_sequence_key`: `auth.auth_events` is such a table.
    ///
    /// # Errors
    /// A name that is no plain identifier.
    pub fn over(schema: &str, table: &str) -> Result<Self, Error> {
        let (schema, table) = (coreloop_db::identifier(schema)?, coreloop_db::identifier(table)?);
        Ok(Self { sql: Statements::of(schema, table, false), every: i64::MAX })
    }

    /// Makes a snapshot every `events` events instead of [`SNAPSHOT_EVERY`].
    #[must_use]
    pub fn snapshot_every(mut self, events: i64) -> Self {
        self.every = events.max(1);
        self
    }

    /// Loads an aggregate: its newest snapshot and what came after. One that is not there is new, at version 0.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::Broken`], or what Postgres says.
    pub async fn load<A: Aggregate>(&self, connection: &mut PgConnection, id: Uuid) -> Result<Loaded<A>, Error> {
        self.until(connection, id, i64::MAX).await
    }

    /// Makes an aggregate of all its events, without snapshots.
    ///
    /// # Errors
    /// As [`EventStore::load`].
    pub async fn replay<A: Aggregate>(&self, connection: &mut PgConnection, id: Uuid) -> Result<Loaded<A>, Error> {
        let replayed = self.read(connection, id, WITHOUT_SNAPSHOTS, i64::MAX).await?;
        Ok(replayed.unwrap_or_else(|| Loaded::new(id)))
    }

    /// The aggregate as it was. Before its first event it is new.
    ///
    /// # Errors
    /// [`Error::Unreached`] for a version that the history does not have; else as [`EventStore::load`].
    pub async fn state_at<A: Aggregate>(
        &self,
        connection: &mut PgConnection,
        id: Uuid,
        at: At,
    ) -> Result<Loaded<A>, Error> {
        let asked = match at {
            At::Version(version) => version,
            At::Instant(instant) => store::version_at(connection, &self.sql, key::<A>(id), instant).await?,
        };
        let loaded = self.until(connection, id, asked).await?;
        match loaded.version() == asked {
            true => Ok(loaded),
            false => Err(Error::Unreached { aggregate_type: A::TYPE, id, asked }),
        }
    }

    /// Appends `events` to the history of `loaded`, which goes on with them, in the transaction of `connection`; answers
    /// their ids. One statement, and a second when a snapshot is due. Without events nothing is asked.
    ///
    /// After an error, and when the transaction is not committed in the end, load again.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the history does not end where `loaded` does; [`Error::Unwritable`], [`Error::TooLarge`];
    /// else what Postgres says.
    pub async fn append<A: Aggregate>(
        &self,
        connection: &mut PgConnection,
        loaded: &mut Loaded<A>,
        events: &[A::Event],
        ids: &dyn Ids,
        now: Timestamp,
    ) -> Result<Vec<Uuid>, Error> {
        let (key, rows) = (key::<A>(loaded.id()), written(events, ids)?);
        let place = Place { after: loaded.version(), head: loaded.head(), metadata: origin(), now };
        self.insert(connection, key, &rows, place).await?;
        let ids: Vec<Uuid> = rows.into_iter().map(|row| row.id).collect();
        let due = ids.iter().zip(events).filter_map(|(id, event)| loaded.advance(*id, event, self.every)).collect();
        store::keep(connection, &self.sql, (key, A::SCHEMA), due, now).await?;
        Ok(ids)
    }

    /// Appends `events` behind event number `expected` (0: as the first) without loading the aggregate, for those who keep
    /// the version in a row of their own that they have locked; answers the version after. Makes no snapshot: the next
    /// [`EventStore::append`] does.
    ///
    /// # Errors
    /// As [`EventStore::append`].
    pub async fn append_at<A: Aggregate>(
        &self,
        connection: &mut PgConnection,
        (id, expected): (Uuid, i64),
        events: &[A::Event],
        ids: &dyn Ids,
        now: Timestamp,
    ) -> Result<i64, Error> {
        let rows = written(events, ids)?;
        let place = Place { after: expected, head: None, metadata: origin(), now };
        self.insert(connection, key::<A>(id), &rows, place).await?;
        Ok(expected.saturating_add_unsigned(rows.len() as u64))
    }

    /// Number of the event `event_id` in the history, if it lasted: what a writer asks whose commit was never answered.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn recorded<A: Aggregate>(
        &self,
        connection: &mut PgConnection,
        id: Uuid,
        event_id: Uuid,
    ) -> Result<Option<i64>, Error> {
        Ok(store::number_of(connection, &self.sql, key::<A>(id), event_id).await?)
    }

    /// At most `most` events after number `after`, in order.
    ///
    /// # Errors
    /// [`Error::Unreadable`], or what Postgres says.
    pub async fn history<A: Aggregate>(
        &self,
        connection: &mut PgConnection,
        id: Uuid,
        after: i64,
        most: i64,
    ) -> Result<Vec<Recorded<A::Event>>, Error> {
        let page = store::page(connection, &self.sql, key::<A>(id), after, most).await?;
        page.into_iter().map(|dated| recorded(id, dated)).collect()
    }

    /// At most `most` events of all histories of the kind, each with its aggregate: by aggregate, then by number, behind the event
    /// `after` (an aggregate and a number; nil and 0 from the beginning). What views are made anew of. Histories that are added to
    /// between two pages may be told of as they were before: the version of each says so.
    ///
    /// # Errors
    /// [`Error::Unreadable`], or what Postgres says.
    pub async fn all<A: Aggregate>(
        &self,
        connection: &mut PgConnection,
        after: (Uuid, i64),
        most: i64,
    ) -> Result<Vec<(Uuid, Recorded<A::Event>)>, Error> {
        let page = store::everything(connection, &self.sql, A::TYPE, after, most).await?;
        page.into_iter().map(|(id, dated)| Ok((id, recorded(id, dated)?))).collect()
    }

    /// Replays an aggregate and holds each of its snapshots to that; answers what it is now. A state that is written down
    /// differently each time cannot be held to anything: keep sets in an order.
    ///
    /// # Errors
    /// [`Error::Differs`] for a snapshot that is not the state of its version; else as [`EventStore::load`].
    pub async fn verify<A: Aggregate>(&self, connection: &mut PgConnection, id: Uuid) -> Result<Loaded<A>, Error> {
        let key = key::<A>(id);
        let snapshots = store::snapshots(connection, &self.sql, key, A::SCHEMA).await?;
        let mut snapshots = snapshots.into_iter().peekable();
        let mut loaded = Loaded::new(id);
        let mut rows = store::load(connection, &self.sql, key, WITHOUT_SNAPSHOTS, i64::MAX);
        while let Some(row) = rows.try_next().await? {
            if let Row::Event(stored) = row {
                loaded.take(stored)?;
            }
            if let Some(snapshot) = snapshots.next_if(|snapshot| snapshot.sequence == loaded.version()) {
                let version = snapshot.sequence;
                if !loaded.agrees_with(snapshot) {
                    return Err(Error::Differs { aggregate_type: A::TYPE, id, version });
                }
            }
        }
        match snapshots.next() {
            Some(beyond) => Err(Error::Differs { aggregate_type: A::TYPE, id, version: beyond.sequence }),
            None => Ok(loaded),
        }
    }

    async fn until<A: Aggregate>(
        &self,
        connection: &mut PgConnection,
        id: Uuid,
        version: i64,
    ) -> Result<Loaded<A>, Error> {
        if let Some(loaded) = self.read(connection, id, A::SCHEMA, version).await? {
            return Ok(loaded);
        }
        let replayed = self.read(connection, id, WITHOUT_SNAPSHOTS, version).await?;
        Ok(replayed.unwrap_or_else(|| Loaded::new(id)))
    }

    /// None when there is a snapshot that cannot be read.
    async fn read<A: Aggregate>(
        &self,
        connection: &mut PgConnection,
        id: Uuid,
        schema_number: i32,
        version: i64,
    ) -> Result<Option<Loaded<A>>, Error> {
        let mut loaded = Loaded::new(id);
        let mut rows = store::load(connection, &self.sql, key::<A>(id), schema_number, version);
        while let Some(row) = rows.try_next().await? {
            match row {
                Row::Event(stored) => loaded.take(stored)?,
                Row::Snapshot(snapshot) => match Loaded::thaw(id, snapshot) {
                    Some(thawed) => loaded = thawed,
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(loaded))
    }

    async fn insert(
        &self,
        connection: &mut PgConnection,
        key: Key,
        rows: &[Written],
        place: Place,
    ) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let conflict = || Error::Conflict { aggregate_type: key.kind, id: key.id, expected: place.after };
        let lost = |error: &sqlx::Error| {
            coreloop_db::violation(error)
                .is_some_and(|of| of.kind == ConstraintKind::Unique && *of.name == *self.sql.sequence_key)
        };
        match store::insert(connection, &self.sql, key, rows, &place).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(conflict()),
            Err(error) if lost(&error) => Err(conflict()),
            Err(error) => Err(error.into()),
        }
    }
}

fn recorded<E: crate::Event>(of: Uuid, dated: store::Dated) -> Result<Recorded<E>, Error> {
    let store::Dated { stored, at, trace_id, request_id } = dated;
    let (sequence, id) = (stored.sequence, stored.id);
    Ok(Recorded { sequence, id, at, trace_id, request_id, event: stored.read(of)? })
}

fn key<A: Aggregate>(id: Uuid) -> Key {
    Key { kind: A::TYPE, id }
}

fn written<E: crate::Event>(events: &[E], ids: &dyn Ids) -> Result<Vec<Written>, Error> {
    events.iter().map(|event| Written::of(event, ids.uuid())).collect()
}

/// Which call wrote an event, as every table of events has it.
fn origin() -> serde_json::Value {
    let call = Call::current();
    let request = call.as_ref().and_then(|call| call.request_id.to_str().ok()).unwrap_or_default();
    let trace = call.as_ref().map(|call| call.trace.trace_id_hex()).unwrap_or_default();
    json!({ "trace_id": trace, "request_id": request })
}
