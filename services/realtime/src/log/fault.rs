//! What Redis does not do, and where that lies.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Redis did not do it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It answered an error or is away.
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    /// It did not answer in time.
    #[error("Redis did not answer in time")]
    Late,
}

/// Where an error lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// In Redis, or on the way to it: it passes.
    Redis,
    /// In what a user's keys hold: it stays.
    Keys,
    /// Nobody can tell.
    Unknown,
}

impl LogError {
    /// Where it lies.
    #[must_use]
    pub fn lies_in(&self) -> Fault {
        let Self::Redis(error) = self else { return Fault::Redis };
        match error.kind() {
            ErrorKind::Extension if error.code() == Some("WRONGTYPE") => Fault::Keys,
            ErrorKind::UnexpectedReturnType => Fault::Keys,
            // Its code is `ERR`, which says nothing.
            ErrorKind::Server(ServerErrorKind::ResponseError) | ErrorKind::Client => Fault::Unknown,
            _ => Fault::Redis,
        }
    }
}
