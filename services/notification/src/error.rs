//! What can go wrong, closed; and what the caller is told.

use coreloop_core::{Kind, Problem, Violation};
use coreloop_db::DbError;
use coreloop_eventing::Failure;
use coreloop_notification_api::v1::NotificationReason;
use tonic::Status;

/// Domain of the reasons of this service.
pub const DOMAIN: &str = "notification";

/// Every failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule says no. Nothing of it has happened.
    #[error("{}", .0.as_str_name())]
    Refused(NotificationReason),
    /// Fields that break a rule which the contract cannot say.
    #[error("the request breaks the rules of its fields")]
    Invalid(Vec<Violation>),
    /// A problem told by a shared crate.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A fact or a command could not be written down.
    #[error(transparent)]
    Eventing(#[from] coreloop_eventing::Error),
    /// The history could not be read or written.
    #[error(transparent)]
    History(#[from] coreloop_eventstore::Error),
    /// What the settings or the database hold cannot be used.
    #[error("{0}")]
    Corrupt(&'static str),
}

impl From<NotificationReason> for Error {
    fn from(reason: NotificationReason) -> Self {
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
pub fn constant(reason: NotificationReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("NOTIFICATION_REASON_").unwrap_or(name)
}

/// Kind and message for developers.
fn told(reason: NotificationReason) -> (Kind, &'static str) {
    use NotificationReason as R;
    match reason {
        R::Unspecified => (Kind::FailedPrecondition, "it cannot be done"),
        R::NotificationNotFound => (Kind::NotFound, "the caller has no such notification"),
        R::DeviceNotFound => (Kind::NotFound, "the caller has no such device"),
        R::UserWithdrawn => (Kind::FailedPrecondition, "the user has closed the account"),
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
            error @ (Error::Eventing(_) | Error::Corrupt(_)) => Self::internal(error),
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
        let all = (1..).map_while(|number| NotificationReason::try_from(number).ok());
        let mut seen = std::collections::BTreeSet::new();
        for reason in all {
            let problem = Problem::from(Error::Refused(reason));
            assert_eq!((problem.domain(), problem.reason()), (DOMAIN, constant(reason)));
            assert!(seen.insert(constant(reason)));
        }
        assert!(seen.contains("NOTIFICATION_NOT_FOUND"));
        assert_eq!(Failure::from(Error::from(NotificationReason::UserWithdrawn)).reason(), "USER_WITHDRAWN");
    }
}
