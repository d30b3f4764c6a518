//! What can go wrong, closed; what the caller is told, and what becomes of an event.

use std::time::Duration;

use coreloop_character_api::v1::CharacterReason;
use coreloop_core::{Kind, Problem, Reason, Violation};
use coreloop_db::DbError;
use coreloop_eventing::Failure;
use tonic::Status;

use crate::{rules::Refusal, views::Away};

/// Domain of the reasons of this service.
pub const DOMAIN: &str = "character";

/// Every failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule says no. Nothing of it has happened.
    #[error("{}", .0.word())]
    Refused(Refusal),
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
    /// The history could not be read or written.
    #[error(transparent)]
    History(#[from] coreloop_eventstore::Error),
    /// Redis did not say what was asked.
    #[error(transparent)]
    Views(#[from] Away),
    /// Another makes the views anew.
    #[error("the views are made anew by another")]
    Rebuilding,
    /// What the database holds cannot be read.
    #[error("{0}")]
    Corrupt(&'static str),
}

impl From<CharacterReason> for Error {
    fn from(reason: CharacterReason) -> Self {
        Self::Refused(reason.into())
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
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

impl From<coreloop_idempotency::Error> for Error {
    fn from(error: coreloop_idempotency::Error) -> Self {
        Problem::from(error).into()
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
pub fn constant(reason: CharacterReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("CHARACTER_REASON_").unwrap_or(name)
}

/// Kind and message for developers.
fn told(reason: CharacterReason) -> (Kind, &'static str) {
    use CharacterReason as R;
    match reason {
        R::Unspecified => (Kind::FailedPrecondition, "it cannot be done"),
        R::CharacterNotFound => (Kind::NotFound, "no such character"),
        R::AlreadyOwned => (Kind::FailedPrecondition, "the user has it"),
        R::MaxCharactersReached => (Kind::FailedPrecondition, "the user has as many as one may"),
        R::ConditionNotMet => (Kind::FailedPrecondition, "its condition is not met yet"),
        R::NotOwned => (Kind::FailedPrecondition, "the user does not have it"),
        R::FullyEvolved => (Kind::FailedPrecondition, "it has its last level"),
        R::EvolutionNotReady => (Kind::FailedPrecondition, "its next level needs more"),
        R::CharacterRevoked => (Kind::FailedPrecondition, "it was taken away"),
        R::UserWithdrawn => (Kind::FailedPrecondition, "the user has closed the account"),
    }
}

fn refused(refusal: Refusal) -> Problem {
    let (kind, message) = told(refusal.reason);
    let problem = Problem::new(kind, DOMAIN, constant(refusal.reason), message);
    match refusal.far {
        Some(far) => problem.with("value", far.value.to_string()).with("threshold", far.threshold.to_string()),
        None => problem,
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refused(refusal),
            Error::KeyReused => Self::common(Reason::IdempotencyKeyReused, "the key named another request"),
            Error::Invalid(violations) => Self::invalid(violations),
            Error::Problem(problem) => *problem,
            Error::Database(error) => error.into(),
            Error::History(error) => error.into(),
            Error::Views(away) => Self::unavailable("a part that this call needs is away", away),
            Error::Rebuilding => Self::common(Reason::InProgress, "the views are made anew by another")
                .retry_after(Duration::from_secs(5)),
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
            Error::Views(away) => Self::retryable("VIEWS_AWAY", away.to_string()),
            other => Problem::from(other).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told_by_a_constant_of_its_own() {
        let all = (1..).map_while(|number| CharacterReason::try_from(number).ok());
        let mut seen = std::collections::BTreeSet::new();
        for reason in all {
            let problem = Problem::from(Error::from(reason));
            assert_eq!((problem.domain(), problem.reason()), (DOMAIN, constant(reason)));
            assert!(seen.insert(constant(reason)));
        }
        assert!(seen.contains("MAX_CHARACTERS_REACHED"));
        assert_eq!(Problem::from(Error::KeyReused).reason(), "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(Failure::from(Error::KeyReused).reason(), "IDEMPOTENCY_KEY_REUSED");
    }
}
