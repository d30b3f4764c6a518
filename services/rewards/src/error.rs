//! What can go wrong, closed; and what the caller is told.

use coreloop_core::{Kind, Problem, Reason, Violation};
use coreloop_db::DbError;
use coreloop_rewards_api::v1::RewardsReason;
use tonic::Status;

/// Domain of the reasons of this service.
pub const DOMAIN: &str = "rewards";

/// Every failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule says no. Nothing of it has happened.
    #[error("{}", .0.as_str_name())]
    Refused(RewardsReason),
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
    /// What the database holds cannot be read.
    #[error("{0}")]
    Corrupt(&'static str),
}

impl From<RewardsReason> for Error {
    fn from(reason: RewardsReason) -> Self {
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

    /// The name of the unique constraint that refused a row.
    #[must_use]
    pub fn taken(&self) -> Option<String> {
        let Self::Database(DbError::Sqlx(error)) = self else { return None };
        coreloop_db::violation(error).map(|violation| violation.name)
    }
}

/// The constant on the wire.
#[must_use]
pub fn constant(reason: RewardsReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("REWARDS_REASON_").unwrap_or(name)
}

/// The reason that a constant names.
#[must_use]
pub fn reason_of(constant: &str) -> RewardsReason {
    RewardsReason::from_str_name(&format!("REWARDS_REASON_{constant}")).unwrap_or_default()
}

/// Kind and message for developers.
fn told(reason: RewardsReason) -> (Kind, &'static str) {
    use RewardsReason as R;
    match reason {
        R::Unspecified => (Kind::FailedPrecondition, "it cannot be given"),
        R::CampaignNotFound => (Kind::NotFound, "no such campaign"),
        R::CampaignClosed => (Kind::FailedPrecondition, "the campaign is not open"),
        R::CampaignExhausted => (Kind::FailedPrecondition, "the campaign has nothing left"),
        R::CampaignClaimed => (Kind::FailedPrecondition, "the campaign gives to each once"),
        R::RewardNotFound => (Kind::NotFound, "no such reward"),
        R::RewardUnavailable => (Kind::FailedPrecondition, "the reward is not offered now"),
        R::SoldOut => (Kind::FailedPrecondition, "none is left"),
        R::InsufficientPoints => (Kind::FailedPrecondition, "the user has fewer points"),
        R::RedemptionNotFound => (Kind::NotFound, "the caller has no such redemption"),
        R::RedemptionSettled => (Kind::FailedPrecondition, "the redemption has ended otherwise"),
        R::AdNotFound => (Kind::NotFound, "no such ad is shown"),
        R::AdTokenInvalid => (Kind::FailedPrecondition, "the token was not made for this user and ad"),
        R::AdTokenExpired => (Kind::FailedPrecondition, "the token is over"),
        R::AdTokenUsed => (Kind::FailedPrecondition, "the token was used"),
        R::AdAlreadyRewarded => (Kind::FailedPrecondition, "the ad was rewarded today"),
        R::AdDailyCap => (Kind::FailedPrecondition, "the points of the day are used up"),
        R::BalanceLimit => (Kind::FailedPrecondition, "the wallet cannot hold that much more"),
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
            error @ (Error::Eventing(_) | Error::Corrupt(_)) => Self::internal(error),
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
        let all = (1..).map_while(|number| RewardsReason::try_from(number).ok());
        let mut seen = std::collections::BTreeSet::new();
        for reason in all {
            let problem = Problem::from(Error::Refused(reason));
            assert_eq!((problem.domain(), problem.reason()), (DOMAIN, constant(reason)));
            assert_eq!(reason_of(constant(reason)), reason);
            assert!(seen.insert(constant(reason)));
        }
        assert!(seen.contains("CAMPAIGN_CLAIMED"));
        assert_eq!(Problem::from(Error::KeyReused).reason(), "IDEMPOTENCY_KEY_REUSED");
    }
}
