//! Why a handler did not handle an event, and what comes of it.

use coreloop_core::{Kind, Problem};
use coreloop_db::DbError;

/// Why an event was not handled. The transaction it was handled in is rolled back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Trying again may help: after a pause, and a few pauses at most.
    #[error("{reason}: {detail}")]
    Retryable {
        /// Stable constant, by which dead letters are filtered.
        reason: String,
        /// For who looks into it. No personal data.
        detail: String,
    },
    /// Trying again will not help: a dead letter at once.
    #[error("{reason}: {detail}")]
    Permanent {
        /// Stable constant.
        reason: String,
        /// For who looks into it. No personal data.
        detail: String,
    },
    /// The database was away or refused for the moment: the event's turn begins again, and nothing is counted.
    #[error("the database is away: {0}")]
    Transient(String),
    /// A store of the handler's own beside the database was away: as [`Failure::Transient`].
    #[error("{reason}: {detail}")]
    Away {
        /// Stable constant, under which it is given up when it stays away.
        reason: String,
        /// For who looks into it. No personal data.
        detail: String,
    },
}

impl Failure {
    /// A failure that a pause may cure.
    pub fn retryable(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Retryable { reason: reason.into(), detail: detail.into() }
    }

    /// A failure for good.
    pub fn permanent(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Permanent { reason: reason.into(), detail: detail.into() }
    }

    /// A store beside the database that is away.
    pub fn away(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Away { reason: reason.into(), detail: detail.into() }
    }

    /// Stable constant.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Retryable { reason, .. } | Self::Permanent { reason, .. } | Self::Away { reason, .. } => reason,
            Self::Transient(_) => "DATABASE_AWAY",
        }
    }

    /// What is no fault of the event as long as it does not last, as what it counts when it does.
    pub(crate) fn lasting(&self) -> Option<Self> {
        match self {
            Self::Transient(_) => Some(Self::retryable("DATABASE", self.to_string())),
            Self::Away { reason, detail } => Some(Self::retryable(reason, detail)),
            Self::Retryable { .. } | Self::Permanent { .. } => None,
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        if coreloop_db::is_transient(&error) {
            return Self::Transient(error.to_string());
        }
        let reason = coreloop_db::violation(&error).map_or_else(|| "DATABASE".to_owned(), |violation| violation.name);
        Self::retryable(reason, error.to_string())
    }
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Sqlx(error) => error.into(),
            other => Self::Transient(other.to_string()),
        }
    }
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        match error {
            crate::Error::Db(error) => error.into(),
            crate::Error::TooLarge(_) => Self::permanent("BODY_TOO_LARGE", error.to_string()),
            other => Self::permanent("EVENTING", other.to_string()),
        }
    }
}

impl From<Problem> for Failure {
    /// What a caller could mend by asking otherwise is permanent; the rest may pass.
    fn from(problem: Problem) -> Self {
        let (reason, detail) = (problem.reason().to_owned(), problem.message().to_owned());
        match problem.kind() {
            Kind::InvalidArgument | Kind::NotFound | Kind::FailedPrecondition | Kind::PermissionDenied => {
                Self::Permanent { reason, detail }
            }
            _ => Self::Retryable { reason, detail },
        }
    }
}
