//! What can go wrong, closed; and what the caller is told.

use std::time::Duration;

use coreloop_chat_api::v1::ChatReason;
use coreloop_core::{Kind, Problem, Reason, Violation};
use coreloop_db::DbError;
use coreloop_eventing::Failure;
use tonic::Status;

/// Domain of the reasons of this service.
pub const DOMAIN: &str = "chat";
/// When whoever waits for an answer may say more.
const SOON: Duration = Duration::from_secs(1);

/// Every failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule says no. Nothing of it has happened.
    #[error("{}", .0.as_str_name())]
    Refused(ChatReason),
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

impl From<ChatReason> for Error {
    fn from(reason: ChatReason) -> Self {
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
pub fn constant(reason: ChatReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("CHAT_REASON_").unwrap_or(name)
}

/// Kind and message for developers.
fn told(reason: ChatReason) -> (Kind, &'static str) {
    use ChatReason as R;
    match reason {
        R::Unspecified => (Kind::FailedPrecondition, "it cannot be done"),
        R::ConversationNotFound => (Kind::NotFound, "the caller has no such conversation"),
        R::MessageNotFound => (Kind::NotFound, "the conversation has no such answer"),
        R::ImageNotFound => (Kind::NotFound, "the caller has no such image"),
        R::ConversationFull => (Kind::FailedPrecondition, "the conversation has as many messages as one may have"),
        R::TooManyConversations => (Kind::FailedPrecondition, "the caller has as many conversations as one may have"),
        R::TooManyOpenAnswers => (Kind::ResourceExhausted, "answers to the caller are being given"),
        R::DailyLimitReached => (Kind::ResourceExhausted, "the caller's answers have taken what they may take a day"),
        R::MessageNotFailed => (Kind::FailedPrecondition, "the answer is there"),
        R::TooManyStreams => (Kind::ResourceExhausted, "the caller follows as many answers as may be at once"),
        R::UserWithdrawn => (Kind::FailedPrecondition, "the account is closed"),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(reason) => {
                let (kind, message) = told(reason);
                let problem = Self::new(kind, DOMAIN, constant(reason), message);
                if reason == ChatReason::TooManyOpenAnswers { problem.retry_after(SOON) } else { problem }
            }
            Error::KeyReused => Self::common(Reason::IdempotencyKeyReused, "the key named another request"),
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
    /// What is ours to mend is tried again, too: what was said is there.
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) | Error::History(coreloop_eventstore::Error::Db(error)) => error.into(),
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
        let all = (1..).map_while(|number| ChatReason::try_from(number).ok());
        let mut seen = std::collections::BTreeSet::new();
        for reason in all {
            let problem = Problem::from(Error::Refused(reason));
            assert_eq!((problem.domain(), problem.reason()), (DOMAIN, constant(reason)));
            assert!(seen.insert(constant(reason)));
        }
        assert!(seen.contains("CONVERSATION_NOT_FOUND"));
        assert_eq!(Problem::from(Error::KeyReused).reason(), "IDEMPOTENCY_KEY_REUSED");
    }
}
