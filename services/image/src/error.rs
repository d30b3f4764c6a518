//! What can go wrong, closed; and what the caller is told.

use std::time::Duration;

use coreloop_core::{Kind, Problem, Violation};
use coreloop_db::DbError;
use coreloop_eventing::Failure;
use coreloop_image_api::v1::ImageReason;
use tonic::Status;

use crate::storage::Away;

/// Domain of the reasons of this service.
pub const DOMAIN: &str = "image";

/// Every failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule says no. Nothing of it has happened.
    #[error("{}", .0.as_str_name())]
    Refused(ImageReason),
    /// Fields that break a rule which the contract cannot say.
    #[error("the request breaks the rules of its fields")]
    Invalid(Vec<Violation>),
    /// Storage did not say what was asked.
    #[error(transparent)]
    Storage(#[from] Away),
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
}

impl From<ImageReason> for Error {
    fn from(reason: ImageReason) -> Self {
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
pub fn constant(reason: ImageReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("IMAGE_REASON_").unwrap_or(name)
}

/// Kind and message for developers.
fn told(reason: ImageReason) -> (Kind, &'static str) {
    use ImageReason as R;
    match reason {
        R::Unspecified => (Kind::FailedPrecondition, "it cannot be done"),
        R::UploadNotFound => (Kind::NotFound, "the caller has sent no such object"),
        R::EtagMismatch => (Kind::FailedPrecondition, "storage has another content"),
        R::TypeMismatch => (Kind::FailedPrecondition, "storage has another type than was asked for"),
        R::SizeMismatch => (Kind::FailedPrecondition, "storage has another length than was asked for"),
        R::ImageNotFound => (Kind::NotFound, "the caller has no such image"),
        R::StorageUnavailable => (Kind::Unavailable, "storage does not answer"),
    }
}

fn refused(reason: ImageReason) -> Problem {
    let (kind, message) = told(reason);
    Problem::new(kind, DOMAIN, constant(reason), message)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(reason) => refused(reason),
            Error::Invalid(violations) => Self::invalid(violations),
            Error::Storage(away) => {
                refused(ImageReason::StorageUnavailable).retry_after(Duration::from_secs(1)).because(away)
            }
            Error::Problem(problem) => *problem,
            Error::Database(error) => error.into(),
            Error::History(error) => error.into(),
            error @ Error::Eventing(_) => Self::internal(error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) | Error::History(coreloop_eventstore::Error::Db(error)) => error.into(),
            Error::Eventing(error) => error.into(),
            other => Problem::from(other).into(),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told_by_a_constant_of_its_own() {
        let all = (1..).map_while(|number| ImageReason::try_from(number).ok());
        let mut seen = std::collections::BTreeSet::new();
        for reason in all {
            let problem = Problem::from(Error::Refused(reason));
            assert_eq!((problem.domain(), problem.reason()), (DOMAIN, constant(reason)));
            assert!(seen.insert(constant(reason)));
        }
        assert!(seen.contains("ETAG_MISMATCH"));
        assert_eq!(Problem::from(Error::Storage(Away::Unset)).reason(), "STORAGE_UNAVAILABLE");
    }
}
