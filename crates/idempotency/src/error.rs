//! Why a key is refused.

use std::time::Duration;

use coreloop_core::{Problem, Reason, Violation};

/// Why a key is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key was used with another request.
    #[error("the idempotency key was used with another request")]
    Reused,
    /// The first call with this key still runs.
    #[error("the first call with this idempotency key still runs")]
    InProgress,
    /// Empty or too long.
    #[error("the idempotency key must be 1 to {} bytes", crate::MAX_KEY_BYTES)]
    Key,
    /// An answer for a key that nobody claimed: a fault of ours.
    #[error("the idempotency key was not claimed")]
    NotClaimed,
    /// A schema that is no plain identifier: a fault of ours.
    #[error("`{0}` is not a plain schema name")]
    Schema(String),
    /// Postgres.
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Reused => {
                Self::common(Reason::IdempotencyKeyReused, "the idempotency key was used with another request")
            }
            Error::InProgress => {
                Self::common(Reason::InProgress, "the first call with this idempotency key still runs")
                    .retry_after(Duration::from_secs(1))
            }
            Error::Key => Self::invalid(vec![Violation {
                field: "idempotency_key".into(),
                description: format!("must be 1 to {} bytes", crate::MAX_KEY_BYTES),
            }]),
            Error::NotClaimed | Error::Schema(_) => Self::internal(error),
            Error::Sqlx(error) => coreloop_db::problem(error),
        }
    }
}
