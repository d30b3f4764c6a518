//! What can go wrong on the way of an event.

use std::time::Duration;

use coreloop_core::{Problem, Reason};
use coreloop_db::DbError;

/// A full queue is worth another try after this.
const FULL_PAUSE: Duration = Duration::from_secs(5);

/// An event could not be written, published, read or acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Postgres.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Redis.
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
    /// Another broker.
    #[error("the broker: {0}")]
    Broker(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The broker did not answer in time; what was asked may have happened.
    #[error("the broker does not answer")]
    Timeout,
    /// Another has become the publisher of this source, or the reader of this group.
    #[error("another has taken over")]
    Fenced,
    /// The broker has lost what it had acknowledged; publishing begins again where it remembers.
    #[error("the broker has lost events it had acknowledged")]
    Lost,
    /// A group was to read again what it has not read yet: its place is never moved forward, for what lies between would be lost.
    #[error("it has not read that far: all of it is still to come")]
    Ahead,
    /// The queue holds as many commands as it may.
    #[error("the queue is full")]
    Full,
    /// A message that is not what its type says.
    #[error("{0}")]
    Codec(Problem),
    /// Larger than an event ([`crate::MAX_PAYLOAD_BYTES`]) or a command ([`crate::MAX_COMMAND_BYTES`]) may be, or than its broker takes.
    #[error(
        "{0} bytes are too large: an event has {event} at most, a command {command}",
        event = crate::MAX_PAYLOAD_BYTES, command = crate::MAX_COMMAND_BYTES
    )]
    TooLarge(usize),
    /// A name that is no plain identifier, or a message type that names no topic: a fault of ours.
    #[error("`{0}` is no name for this")]
    Name(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(DbError::Sqlx(error))
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Db(error) => error.into(),
            Error::Full => Self::common(Reason::Overloaded, "too much of this is waiting").retry_after(FULL_PAUSE),
            // Whoever asked may ask for less.
            Error::TooLarge(_) => Self::common(Reason::BodyTooLarge, error.to_string()),
            other => Self::internal(other),
        }
    }
}
