//! What can go wrong, closed; and what the caller is told.

use std::time::Duration;

use coreloop_core::{Kind, Problem, Reason};
use coreloop_realtime_api::v1::RealtimeReason;
use tonic::Status;

use crate::log::LogError;

/// Domain of the reasons of this service.
pub const DOMAIN: &str = "realtime";
/// When who was turned away is to come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// Every failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule says no.
    #[error("{}", .0.as_str_name())]
    Refused(RealtimeReason),
    /// A problem told by a shared crate.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// Redis did not do its part.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The channel of the user cannot be joined now.
    #[error("the channel of the user cannot be joined now")]
    Deaf,
}

impl From<RealtimeReason> for Error {
    fn from(reason: RealtimeReason) -> Self {
        Self::Refused(reason)
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

/// Kind and message for developers.
fn told(reason: RealtimeReason) -> (Kind, &'static str) {
    use RealtimeReason as R;
    match reason {
        R::Unspecified => (Kind::FailedPrecondition, "it cannot be opened"),
        R::TooManySockets => (Kind::ResourceExhausted, "the user has as many sockets open as they may"),
        R::SlowConsumer => (Kind::ResourceExhausted, "the client reads too slowly; open it again with the last seq"),
        R::LegacyOff => (Kind::NotFound, "the socket of the old app is not served here"),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(reason) => {
                let (kind, message) = told(reason);
                let name = reason.as_str_name();
                Self::new(kind, DOMAIN, name.strip_prefix("REALTIME_REASON_").unwrap_or(name), message)
            }
            Error::Problem(problem) => *problem,
            error @ (Error::Log(_) | Error::Deaf) => {
                Self::common(Reason::DependencyUnavailable, "messages cannot be read now; open it again")
                    .retry_after(COME_BACK)
                    .because(error)
            }
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}
