//! What can go wrong, closed; what the caller is told, and what becomes of an event.

use coreloop_core::{Kind, Problem, Violation};
use coreloop_db::DbError;
use coreloop_eventing::Failure;
use coreloop_my_api::v1::MyReason;
use tonic::Status;

/// Domain of the reasons of this service.
pub const DOMAIN: &str = "my";

/// Every failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule says no. Nothing of it has happened.
    #[error("{}", .0.as_str_name())]
    Refused(MyReason),
    /// Fields that break a rule which the contract cannot say.
    #[error("the request breaks the rules of its fields")]
    Invalid(Vec<Violation>),
    /// A problem told by a shared crate, or by another service.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A fact could not be written down.
    #[error(transparent)]
    Eventing(#[from] coreloop_eventing::Error),
    /// The history could not be read or written.
    #[error(transparent)]
    History(#[from] coreloop_eventstore::Error),
    /// Another makes anew what histories came to.
    #[error("it is made anew by another")]
    Rebuilding,
}

impl From<MyReason> for Error {
    fn from(reason: MyReason) -> Self {
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
pub fn constant(reason: MyReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("MY_REASON_").unwrap_or(name)
}

/// Kind and message for developers.
fn told(reason: MyReason) -> (Kind, &'static str) {
    use MyReason as R;
    match reason {
        R::Unspecified => (Kind::FailedPrecondition, "it cannot be done"),
        R::UserNotFound => (Kind::NotFound, "no such user"),
        R::SelfFollow => (Kind::InvalidArgument, "nobody follows themselves"),
        R::FollowsFull => (Kind::FailedPrecondition, "the caller follows as many as one may"),
        R::ImageNotFound => (Kind::NotFound, "the caller has no such image"),
        R::UserWithdrawn => (Kind::FailedPrecondition, "the caller has closed the account"),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(reason) => {
                let (kind, message) = told(reason);
                Self::new(kind, DOMAIN, constant(reason), message)
            }
            Error::Invalid(violations) => Self::invalid(violations),
            Error::Problem(problem) => *problem,
            Error::Database(error) => error.into(),
            Error::History(error) => error.into(),
            Error::Rebuilding => Self::common(coreloop_core::Reason::InProgress, "it is made anew by another")
                .retry_after(std::time::Duration::from_secs(5)),
            error @ Error::Eventing(_) => Self::internal(error),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

impl From<Error> for Failure {
    /// A database that is away is waited for; what trying again cannot mend is a dead letter.
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) | Error::History(coreloop_eventstore::Error::Db(error)) => error.into(),
            Error::Eventing(error) => error.into(),
            other => Problem::from(other).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told_by_a_constant_of_its_own() {
        let all = (1..).map_while(|number| MyReason::try_from(number).ok());
        let mut seen = std::collections::BTreeSet::new();
        for reason in all {
            let problem = Problem::from(Error::from(reason));
            assert_eq!((problem.domain(), problem.reason()), (DOMAIN, constant(reason)));
            assert!(seen.insert(constant(reason)));
        }
        assert_eq!(seen.len(), 5, "{seen:?}");
    }

    #[test]
    fn what_trying_again_may_mend_is_no_dead_letter_at_once() {
        let away = Problem::unavailable("auth does not answer", "gone");
        assert!(matches!(Failure::from(Error::from(away)), Failure::Retryable { .. }));
        assert!(matches!(Failure::from(Error::from(MyReason::UserNotFound)), Failure::Permanent { .. }));
    }
}
