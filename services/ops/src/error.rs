//! What can go wrong, closed; and what the caller is told.

use coreloop_core::Problem;
use coreloop_db::DbError;
use coreloop_ops_api::{host::refused, v1::OpsReason};
use tonic::{Code, Status};

/// Every failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A problem of its own, or one told by a shared crate.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// What the service said whose letters they are; it is passed on as it stands.
    #[error("the service answered: {0}")]
    Peer(Box<Status>),
    /// The database failed.
    #[error("database")]
    Database(#[from] DbError),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<Status> for Error {
    /// A service that hears no events has no such RPC, and no queue.
    fn from(status: Status) -> Self {
        if status.code() == Code::Unimplemented {
            return refused(OpsReason::QueueUnknown, "the service has no queues").into();
        }
        Self::Peer(Box::new(status))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Problem(problem) => problem.into(),
            Error::Peer(status) => *status,
            Error::Database(error) => Problem::from(error).into(),
        }
    }
}
