//! Dead letters: events that no try could help. They lie in the consumer's own schema, so setting one aside, trying it
//! again and its effect are decided by one database.

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, store, topic};

/// Which dead letters; the oldest first.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Of which consumer.
    pub consumer: String,
    /// Only those that died for this reason.
    pub reason: Option<String>,
    /// Only this one.
    pub id: Option<Uuid>,
    /// Only those after this place; 0: all.
    pub after: i64,
    /// At most so many.
    pub count: u32,
}

/// An event that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its place among those of its schema, for [`Filter::after`].
    pub position: i64,
    /// The event's id.
    pub id: Uuid,
    /// Its topic.
    pub topic: String,
    /// Its key.
    pub key: String,
    /// Nobody touched it for an hour.
    pub archived: bool,
    /// How often it was tried.
    pub failures: u32,
    /// Why it died: a stable constant.
    pub reason: String,
    /// The last error.
    pub error: String,
    /// When it died.
    pub died_at: Timestamp,
    /// What it came with, as JSON.
    pub envelope: String,
    /// What it says; empty where it was only glanced at.
    pub payload: Vec<u8>,
}

/// How much a consumer has set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depth {
    /// Which consumer.
    pub consumer: String,
    /// Dead letters.
    pub dead: i64,
    /// Dead letters that nobody touched for an hour.
    pub archived: i64,
    /// To be tried again, or behind such.
    pub waiting: i64,
    /// When the oldest dead letter died.
    pub oldest_at: Option<Timestamp>,
}

/// The dead letters of a service's consumers.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    sql: store::dead::Statements,
}

impl DeadLetters {
    /// Those in `<schema>.held_events`.
    ///
    /// # Errors
    /// A schema that is no plain identifier.
    pub fn new(schema: &str) -> Result<Self, Error> {
        Ok(Self { sql: store::dead::Statements::of(topic::plain(schema)?) })
    }

    /// Whether the schema has a place for any: that of a service that hears nothing has none.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn kept(&self, connection: &mut PgConnection) -> Result<bool, Error> {
        Ok(store::dead::kept(connection, &self.sql).await?)
    }

    /// Shows them.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn list(&self, connection: &mut PgConnection, filter: &Filter) -> Result<Vec<DeadLetter>, Error> {
        Ok(store::dead::list(connection, &self.sql, filter, true).await?)
    }

    /// Shows them without what they say, which may be a megabyte each.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn glance(&self, connection: &mut PgConnection, filter: &Filter) -> Result<Vec<DeadLetter>, Error> {
        Ok(store::dead::list(connection, &self.sql, filter, false).await?)
    }

    /// Counts what each consumer has set aside; those that have nothing are left out.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn depths(&self, connection: &mut PgConnection) -> Result<Vec<Depth>, Error> {
        Ok(store::dead::depths(connection, &self.sql).await?)
    }

    /// Lets the consumer try them again, soon and from the beginning; answers how many. What came after them has been
    /// handled without them.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn reprocess(
        &self,
        connection: &mut PgConnection,
        filter: &Filter,
        now: Timestamp,
    ) -> Result<u64, Error> {
        Ok(store::dead::reprocess(connection, &self.sql, filter, now).await?)
    }

    /// Deletes them; answers how many. An event that is delivered again is not handled either.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn discard(&self, connection: &mut PgConnection, filter: &Filter, now: Timestamp) -> Result<u64, Error> {
        Ok(store::dead::discard(connection, &self.sql, filter, now).await?)
    }
}
