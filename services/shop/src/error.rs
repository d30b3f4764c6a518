//! What can go wrong, closed; and what the caller is told.

use std::{sync::Arc, time::Duration};

use coreloop_core::{Kind, Problem, Reason, Violation};
use coreloop_db::{DbError, GroupError};
use coreloop_shop_api::v1::ShopReason;
use tonic::Status;

/// Domain of the reasons of this service.
pub const DOMAIN: &str = "shop";

/// Every failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The shop says no.
    #[error("{0:?}")]
    Refused(Refusal),
    /// Fields that break a rule which the contract cannot say.
    #[error("the request breaks the rules of its fields")]
    Invalid(Vec<Violation>),
    /// A problem told by a shared crate.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The batch that the purchase was in came to nothing; what became of it is told by its key.
    #[error(transparent)]
    Batch(Arc<Error>),
    /// The purchase never came into a batch, or its batch was lost.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The wallet or the payment service did not answer, or not well. What became of the purchase is found out later.
    #[error("{part} did not answer: {said}")]
    Away {
        /// Which.
        part: &'static str,
        /// What was heard.
        said: String,
    },
    /// What the database holds cannot be read.
    #[error("{0}")]
    Corrupt(&'static str),
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: ShopReason,
    /// Metadata: name and value.
    pub detail: Option<(&'static str, String)>,
}

impl From<ShopReason> for Refusal {
    fn from(reason: ShopReason) -> Self {
        Self { reason, detail: None }
    }
}

impl From<ShopReason> for Error {
    fn from(reason: ShopReason) -> Self {
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

/// An act that could not be told to the audit.
impl From<coreloop_eventing::Error> for Error {
    fn from(error: coreloop_eventing::Error) -> Self {
        match error {
            coreloop_eventing::Error::Db(error) => error.into(),
            other => Problem::from(other).into(),
        }
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

    /// The key named another request before.
    #[must_use]
    pub fn key_reused() -> Self {
        Problem::common(Reason::IdempotencyKeyReused, "the idempotency key named another request").into()
    }

    /// The purchase of this key still runs, since so long. The longer it does, the longer it is worth waiting.
    #[must_use]
    pub fn in_progress(since: Duration) -> Self {
        let pause = Duration::from_millis(150).saturating_add(since / 10).min(Duration::from_millis(300));
        Problem::common(Reason::InProgress, "IN_PROGRESS").retry_after(pause).into()
    }

    /// The Postgres error underneath, if there is one.
    #[must_use]
    pub fn sqlx(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(DbError::Sqlx(error)) => Some(error),
            Self::Batch(error) => error.sqlx(),
            _ => None,
        }
    }

    /// What it is called in metrics.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => constant(refusal.reason),
            Self::Invalid(_) => "VALIDATION_FAILED",
            Self::Problem(problem) => match problem.reason() {
                "IN_PROGRESS" => "IN_PROGRESS",
                "IDEMPOTENCY_KEY_REUSED" => "IDEMPOTENCY_KEY_REUSED",
                "PURCHASE_BLOCKED" => "PURCHASE_BLOCKED",
                _ => "failed",
            },
            Self::Away { .. } => "unknown",
            _ => "failed",
        }
    }
}

/// The constant on the wire.
#[must_use]
pub fn constant(reason: ShopReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("SHOP_REASON_").unwrap_or(name)
}

/// The reason that a constant names; none for what is no reason of ours.
#[must_use]
pub fn reason_of(constant: &str) -> Option<ShopReason> {
    ShopReason::from_str_name(&format!("SHOP_REASON_{constant}"))
}

fn told(reason: ShopReason) -> (Kind, &'static str) {
    use ShopReason as R;
    match reason {
        R::ProductNotFound => (Kind::NotFound, "no such product"),
        R::TransactionNotFound => (Kind::NotFound, "no such transaction"),
        R::NotOnSale => (Kind::FailedPrecondition, "the product is not sold now"),
        R::AlreadyPurchased => (Kind::FailedPrecondition, "already purchased"),
        R::SoldOut => (Kind::FailedPrecondition, "SOLD_OUT"),
        R::LimitReached => (Kind::FailedPrecondition, "the caller has as many as one may"),
        R::InsufficientFunds => (Kind::FailedPrecondition, "the wallet has less than the price"),
        R::PromoInvalid => (Kind::FailedPrecondition, "the promo code is not good for this"),
        R::PromoUsedUp => (Kind::FailedPrecondition, "the promo code is used up"),
        R::PaymentRefused => (Kind::FailedPrecondition, "the payment service refused"),
        R::TransactionSettled => (Kind::FailedPrecondition, "the transaction is settled otherwise"),
        R::BalanceLimit => (Kind::FailedPrecondition, "the wallet cannot hold that much"),
        R::PurchaseBlocked => (Kind::ResourceExhausted, "too many purchases"),
        R::WebhookSignatureInvalid => (Kind::Unauthenticated, "the webhook's signature is not valid"),
        R::WebhookTooOld => (Kind::Unauthenticated, "the webhook's timestamp is too far off"),
        R::WebhookReplayed => (Kind::AlreadyExists, "the webhook came before"),
        R::Unspecified => (Kind::Internal, "internal error"),
    }
}

/// Nothing is known but that the database did not answer in time.
fn is_away(error: &Error) -> bool {
    let out_of_time = |error: &sqlx::Error| matches!(error, sqlx::Error::Database(refused) if refused.code().as_deref() == Some("57014"));
    matches!(error, Error::Database(DbError::Deadline))
        || error.sqlx().is_some_and(|error| coreloop_db::is_transient(error) || out_of_time(error))
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (kind, message) = told(refusal.reason);
        let problem = Self::new(kind, DOMAIN, constant(refusal.reason), message);
        match refusal.detail {
            Some((name, value)) => problem.with(name, value),
            None => problem,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Invalid(violations) => Self::invalid(violations),
            Error::Problem(problem) => *problem,
            Error::Database(error) => error.into(),
            Error::Batch(shared) if is_away(&shared) => {
                Self::unavailable("a part that this call needs is away; ask again with the same key", shared)
            }
            Error::Batch(shared) => Self::internal(shared),
            Error::Group(error) => error.into(),
            error @ Error::Away { .. } => {
                Self::unavailable("a part that this call needs is away; ask again with the same key", error)
            }
            error @ Error::Corrupt(_) => Self::internal(error),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_kind_and_comes_back_by_its_constant() {
        for number in 1..=16 {
            let reason = ShopReason::try_from(number).unwrap();
            assert_ne!(told(reason).0, Kind::Internal, "{reason:?}");
            assert_eq!(reason_of(constant(reason)), Some(reason));
        }
        assert!(ShopReason::try_from(17).is_err(), "a new reason needs its kind");
    }

    #[test]
    fn a_database_that_does_not_answer_is_away() {
        let kind = |error: DbError| Problem::from(Error::Batch(Arc::new(error.into()))).kind();
        assert_eq!(kind(DbError::Deadline), Kind::Unavailable);
        assert_eq!(kind(sqlx::Error::PoolTimedOut.into()), Kind::Unavailable);
        assert_eq!(kind(sqlx::Error::RowNotFound.into()), Kind::Internal);
    }

    #[test]
    fn the_pause_of_what_still_runs_grows_from_150_to_300_ms() {
        let pause =
            |ms| Problem::from(Error::in_progress(Duration::from_millis(ms))).retry_delay().unwrap().as_millis();
        assert_eq!([pause(0), pause(500), pause(1_500), pause(60_000)], [150, 200, 300, 300]);
    }
}
