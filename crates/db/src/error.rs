//! What Postgres says, in terms a domain decides on.

use std::{sync::Arc, time::Duration};

use coreloop_core::{Problem, Reason};

/// Which kind of constraint refused a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintKind {
    /// SQLSTATE 23505.
    Unique,
    /// SQLSTATE 23503.
    ForeignKey,
    /// SQLSTATE 23514.
    Check,
    /// SQLSTATE 23502.
    NotNull,
    /// SQLSTATE 23P01.
    Exclusion,
}

/// A named constraint refused a row. Domains turn the name into their own error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstraintViolation {
    /// Name of the constraint, as `users_email_key`; the column for a missing value.
    pub name: String,
    /// Kind of the constraint.
    pub kind: ConstraintKind,
}

/// The constraint that `error` came from, if it came from one.
#[must_use]
pub fn violation(error: &sqlx::Error) -> Option<ConstraintViolation> {
    let sqlx::Error::Database(refused) = error else { return None };
    let kind = match refused.code().as_deref() {
        Some("23505") => ConstraintKind::Unique,
        Some("23503") => ConstraintKind::ForeignKey,
        Some("23514") => ConstraintKind::Check,
        Some("23502") => ConstraintKind::NotNull,
        Some("23P01") => ConstraintKind::Exclusion,
        _ => return None,
    };
    Some(ConstraintViolation { name: refused.constraint().unwrap_or_default().to_owned(), kind })
}

/// The same work may succeed when done again from its beginning: lost connections, a database that starts or stops,
/// deadlocks and serialization failures. After a lost connection a commit may have happened; only work that is safe to
/// repeat is repeated.
#[must_use]
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        // A connection that is cut while it is made, or in the midst of a message, ends in either.
        sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => true,
        sqlx::Error::Database(refused) => refused.code().is_some_and(|code| {
            // 08: connection, 53: resources, 57P: operator intervention, 40: rollback, 55P03: lock not available.
            ["08", "53", "57P", "40", "55P03"].iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

/// A database call that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The caller's deadline passed before the statement was started.
    #[error("the deadline passed before the statement was started")]
    Deadline,
    /// Postgres or the way to it.
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    /// A statement that several callers waited for.
    #[error(transparent)]
    Shared(Arc<DbError>),
    /// The migrations do not apply, or those applied are not these.
    #[error("migrations of schema {schema} do not apply")]
    Migrate {
        /// Which schema.
        schema: String,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// A name that is no plain identifier.
    #[error("`{0}` is not a plain lower-case identifier")]
    Name(String),
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Deadline => Self::common(Reason::DeadlineExceeded, "the deadline passed"),
            DbError::Sqlx(error) => problem(error),
            DbError::Shared(shared) => match &*shared {
                DbError::Sqlx(error) => told(error).because(shared),
                _ => Self::internal(shared),
            },
            other => Self::internal(other),
        }
    }
}

/// What a caller learns of a database error that no rule of the domain explains.
#[must_use]
pub fn problem(error: sqlx::Error) -> Problem {
    told(&error).because(error)
}

/// As [`problem`], without its source.
fn told(error: &sqlx::Error) -> Problem {
    if deadline_of_statement(error) {
        Problem::common(Reason::DeadlineExceeded, "this took too long")
    } else if is_transient(error) {
        Problem::common(Reason::DependencyUnavailable, "a part that this call needs is away")
            .retry_after(Duration::from_secs(1))
    } else {
        Problem::common(Reason::Internal, "internal error")
    }
}

/// SQLSTATE 57014: the statement timeout, or a cancellation.
fn deadline_of_statement(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(refused) if refused.code().as_deref() == Some("57014"))
}

#[cfg(test)]
mod tests {
    use coreloop_core::Kind;

    use super::*;

    #[test]
    fn lost_connections_are_transient_and_missing_rows_are_not() {
        assert!(is_transient(&sqlx::Error::PoolTimedOut));
        assert!(is_transient(&sqlx::Error::Protocol("unexpected end".to_owned())));
        assert!(is_transient(&sqlx::Error::Tls("handshake".into())));
        assert!(!is_transient(&sqlx::Error::RowNotFound));
        assert_eq!(problem(sqlx::Error::PoolTimedOut).kind(), Kind::Unavailable);
        assert_eq!(problem(sqlx::Error::RowNotFound).kind(), Kind::Internal);
    }
}
