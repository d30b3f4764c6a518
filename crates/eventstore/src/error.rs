//! What can go wrong between a state and its history.

use std::time::Duration;

use coreloop_core::{Problem, Reason};
use coreloop_db::DbError;
use uuid::Uuid;

/// Why a payload cannot be read or written, in the words of whoever tried.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A history could not be read or added to. The transaction it happened in is to be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another has written since the aggregate was loaded, or what was loaded never lasted. Load again, decide again.
    #[error("the history of {aggregate_type} {id} does not end where it did at version {expected}")]
    Conflict {
        /// Kind of the aggregate.
        aggregate_type: &'static str,
        /// Which one.
        id: Uuid,
        /// The version that the writer has seen.
        expected: i64,
    },
    /// A version that the history does not have.
    #[error("the history of {aggregate_type} {id} has no version {asked}")]
    Unreached {
        /// Kind of the aggregate.
        aggregate_type: &'static str,
        /// Which one.
        id: Uuid,
        /// The version that was asked for.
        asked: i64,
    },
    /// An event of an unknown type or version, or one that is not what its type says.
    #[error("event {sequence} of {id}, `{event_type}` in version {version}, cannot be read")]
    Unreadable {
        /// Of which aggregate.
        id: Uuid,
        /// Its number in the history.
        sequence: i64,
        /// Its type.
        event_type: String,
        /// The version it was written in; empty when there is none to be read.
        version: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// An event that the domain itself cannot put into words.
    #[error("`{event_type}` cannot be written")]
    Unwritable {
        /// Its type.
        event_type: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Larger than an event may be.
    #[error("an event of {0} bytes is larger than {max}", max = crate::MAX_PAYLOAD_BYTES)]
    TooLarge(usize),
    /// The history has a hole: somebody else has been at the table.
    #[error("the history of {aggregate_type} {id} has no event {missing}")]
    Broken {
        /// Kind of the aggregate.
        aggregate_type: &'static str,
        /// Which one.
        id: Uuid,
        /// The number that is not there.
        missing: i64,
    },
    /// A snapshot is not what the history makes of it.
    #[error("the snapshot of {aggregate_type} {id} at version {version} is not its state")]
    Differs {
        /// Kind of the aggregate.
        aggregate_type: &'static str,
        /// Which one.
        id: Uuid,
        /// The version of the snapshot.
        version: i64,
    },
    /// Postgres, or a name that is no plain identifier.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(DbError::Sqlx(error))
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Conflict { .. } => Self::common(Reason::Conflict, "another change got in between")
                .retry_after(Duration::from_millis(100))
                .because(error),
            Error::Unreached { .. } => Self::common(Reason::NotFound, "there is no such version").because(error),
            Error::Db(error) => error.into(),
            other => Self::internal(other),
        }
    }
}
