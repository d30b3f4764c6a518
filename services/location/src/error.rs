//! What can go wrong, closed; and what the caller is told.

use std::{sync::Arc, time::Duration};

use coreloop_core::{Kind, Problem, Violation};
use coreloop_db::DbError;
use coreloop_eventing::Failure;
use coreloop_location_api::v1::LocationReason;
use tonic::Status;

use crate::{globe, kakao::Away};

/// Domain of the reasons of this service.
pub const DOMAIN: &str = "location";
/// When to ask for an address again.
const LATER: Duration = Duration::from_secs(30);

/// Every failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule says no. Nothing of it has happened.
    #[error("{}", .0.as_str_name())]
    Refused(LocationReason),
    /// The caller is so many metres away.
    #[error("the caller is {0:.0} m away")]
    TooFar(f64),
    /// Fields that break a rule which the contract cannot say.
    #[error("the request breaks the rules of its fields")]
    Invalid(Vec<Violation>),
    /// A problem told by a shared crate.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// A search that several callers waited for.
    #[error("{0}")]
    Shared(Arc<Problem>),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A fact could not be written down.
    #[error(transparent)]
    Eventing(#[from] coreloop_eventing::Error),
    /// What the database holds cannot be read.
    #[error("{0}")]
    Corrupt(&'static str),
}

impl From<LocationReason> for Error {
    fn from(reason: LocationReason) -> Self {
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

/// A shop was forgotten between two looks at it.
#[must_use]
pub fn forgotten(error: sqlx::Error) -> Error {
    let of_shop = ["favorites_shop_id_fkey", "visits_shop_id_fkey"];
    match coreloop_db::violation(&error) {
        Some(violated) if of_shop.contains(&violated.name.as_str()) => LocationReason::ShopNotFound.into(),
        _ => error.into(),
    }
}

/// Nobody knows the address at the moment.
#[must_use]
pub fn unanswered(away: Away) -> Problem {
    refused(LocationReason::ProviderUnavailable).retry_after(LATER).because(away)
}

/// The constant on the wire.
#[must_use]
pub fn constant(reason: LocationReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("LOCATION_REASON_").unwrap_or(name)
}

/// Kind and message for developers.
fn told(reason: LocationReason) -> (Kind, &'static str) {
    use LocationReason as R;
    match reason {
        R::Unspecified => (Kind::FailedPrecondition, "it cannot be done"),
        R::ShopNotFound => (Kind::NotFound, "there is no such shop"),
        R::TooFar => (Kind::FailedPrecondition, "the caller is too far away"),
        R::TooManyFavorites => (Kind::FailedPrecondition, "the caller has as many favourites as one may have"),
        R::UserWithdrawn => (Kind::FailedPrecondition, "the account is closed"),
        R::ProviderUnavailable => (Kind::Unavailable, "the provider of addresses does not answer"),
        R::TooManyTracks => (Kind::ResourceExhausted, "the caller has too many live maps open"),
    }
}

fn refused(reason: LocationReason) -> Problem {
    let (kind, message) = told(reason);
    Problem::new(kind, DOMAIN, constant(reason), message)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(reason) => refused(reason),
            Error::TooFar(away) => refused(LocationReason::TooFar).with("distance_m", globe::metres(away).to_string()),
            Error::Invalid(violations) => Self::invalid(violations),
            Error::Problem(problem) => *problem,
            Error::Shared(problem) => again(&problem),
            Error::Database(error) => error.into(),
            error @ (Error::Eventing(_) | Error::Corrupt(_)) => Self::internal(error),
        }
    }
}

/// The same to another caller.
fn again(problem: &Arc<Problem>) -> Problem {
    let (reason, domain) = (problem.reason().to_owned(), problem.domain().to_owned());
    let same = Problem::new(problem.kind(), domain, reason, problem.message().to_owned());
    let same = problem.retry_delay().into_iter().fold(same, Problem::retry_after);
    same.because(problem.to_string())
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => error.into(),
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
        let all = (1..).map_while(|number| LocationReason::try_from(number).ok());
        let mut seen = std::collections::BTreeSet::new();
        for reason in all {
            let problem = Problem::from(Error::Refused(reason));
            assert_eq!((problem.domain(), problem.reason()), (DOMAIN, constant(reason)));
            assert!(seen.insert(constant(reason)));
        }
        assert!(seen.contains("TOO_FAR"));
    }

    #[test]
    fn who_waited_for_somebody_elses_search_is_told_the_same() {
        let told = Problem::from(Error::Shared(Arc::new(unanswered(coreloop_outbound::Away::Late.into()))));
        assert_eq!((told.reason(), told.retry_delay()), ("PROVIDER_UNAVAILABLE", Some(LATER)));
    }
}
