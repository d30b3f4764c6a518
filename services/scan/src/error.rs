//! What can go wrong, closed; and what the caller is told.

use coreloop_core::{Kind, Problem, Reason, Violation};
use coreloop_db::DbError;
use coreloop_eventing::Failure;
use coreloop_scan_api::v1::ScanReason;
use tonic::Status;

/// Domain of the reasons of this service.
pub const DOMAIN: &str = "scan";

/// Every failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule says no. Nothing of it has happened.
    #[error("{}", .0.as_str_name())]
    Refused(ScanReason),
    /// The key named something else before.
    #[error("the key named another request")]
    KeyReused,
    /// Fields that break a rule which the contract cannot say.
    #[error("the request breaks the rules of its fields")]
    Invalid(Vec<Violation>),
    /// A problem told by a shared crate.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A fact could not be written down.
    #[error(transparent)]
    Eventing(#[from] coreloop_eventing::Error),
    /// An event could not be written into the history.
    #[error(transparent)]
    History(#[from] coreloop_eventstore::Error),
    /// What the database holds cannot be read.
    #[error("{0}")]
    Corrupt(&'static str),
}

impl From<ScanReason> for Error {
    fn from(reason: ScanReason) -> Self {
        Self::Refused(reason)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl Error {
    /// One field that breaks a rule.
    #[must_use]
    pub fn invalid(field: &str, description: &str) -> Self {
        Self::Invalid(vec![Violation { field: field.to_owned(), description: description.to_owned() }])
    }
}

/// The constant on the wire.
#[must_use]
pub fn constant(reason: ScanReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("SCAN_REASON_").unwrap_or(name)
}

/// Kind and message for developers.
fn told(reason: ScanReason) -> (Kind, &'static str) {
    use ScanReason as R;
    match reason {
        R::Unspecified => (Kind::FailedPrecondition, "it cannot be done"),
        R::TaskNotFound => (Kind::NotFound, "the caller has no such task"),
        R::ImageNotFound => (Kind::NotFound, "the caller has no such image"),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(reason) => {
                let (kind, message) = told(reason);
                Self::new(kind, DOMAIN, constant(reason), message)
            }
            Error::KeyReused => Self::common(Reason::IdempotencyKeyReused, "the key named another request"),
            Error::Invalid(violations) => Self::invalid(violations),
            Error::Problem(problem) => *problem,
            Error::Database(error) => error.into(),
            error @ (Error::Eventing(_) | Error::History(_) | Error::Corrupt(_)) => Self::internal(error),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

impl From<Error> for Failure {
    /// What is ours to mend is tried again, too: the photo is there.
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => error.into(),
            Error::Eventing(error) => error.into(),
            error => {
                let problem = Problem::from(error);
                Self::retryable(problem.reason().to_owned(), problem.message().to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told_by_a_constant_of_its_own() {
        let all = (1..).map_while(|number| ScanReason::try_from(number).ok());
        let mut seen = std::collections::BTreeSet::new();
        for reason in all {
            let problem = Problem::from(Error::Refused(reason));
            assert_eq!((problem.domain(), problem.reason()), (DOMAIN, constant(reason)));
            assert!(seen.insert(constant(reason)));
        }
        assert!(seen.contains("TASK_NOT_FOUND"));
        assert_eq!(Problem::from(Error::KeyReused).reason(), "IDEMPOTENCY_KEY_REUSED");
    }
}
