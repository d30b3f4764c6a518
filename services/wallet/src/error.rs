//! What can go wrong, closed; and what the caller is told.

use std::{sync::Arc, time::Duration};

use coreloop_core::{Kind, Problem, Reason, Violation};
use coreloop_db::{DbError, GroupError, is_transient};
use coreloop_wallet_api::v1::{self, Currency, WalletReason};
use tonic::Status;

/// Domain of the reasons of this service.
pub const DOMAIN: &str = "wallet";

/// What the contract writes before its reasons, and before its currencies.
const REASON: &str = "WALLET_REASON_";
const CURRENCY: &str = "CURRENCY_";

/// Every failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule of the books says no.
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
    /// The batch that the act was in came to nothing; whether the act has happened is told by asking again.
    #[error(transparent)]
    Batch(Arc<Error>),
    /// The act never came into a batch, or its batch was lost.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// What the database holds cannot be read.
    #[error("{0}")]
    Corrupt(&'static str),
}

/// Why the books refuse an act. Nothing of it has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Less is there.
    InsufficientFunds {
        /// Of which currency.
        currency: Currency,
        /// How much is there.
        available: i64,
    },
    /// More than an account may hold.
    BalanceLimit,
    /// The hold's time is over.
    HoldExpired,
    /// The hold was captured or released.
    HoldSettled,
    /// More than there was.
    AmountTooLarge,
    /// Reversed before.
    AlreadyReversed,
    /// Cannot be reversed, or not so.
    NotReversible,
    /// No such hold.
    HoldNotFound,
    /// No such posting.
    PostingNotFound,
    /// The key named something else before.
    KeyReused,
    /// What is to be given would be over at once.
    TimePassed,
    /// Something that cannot be; ours to mend.
    Corrupt(&'static str),
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

    /// The Postgres error underneath, if there is one.
    #[must_use]
    pub fn sqlx(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(DbError::Sqlx(error)) => Some(error),
            Self::Batch(error) => error.sqlx(),
            _ => None,
        }
    }
}

impl Refusal {
    /// Reason, kind and message for developers.
    #[must_use]
    pub fn told(&self) -> (WalletReason, Kind, &'static str) {
        use WalletReason as R;
        match self {
            Self::InsufficientFunds { .. } => (R::InsufficientFunds, Kind::FailedPrecondition, "the account has less"),
            Self::BalanceLimit => (R::BalanceLimit, Kind::FailedPrecondition, "the account may not hold that much"),
            Self::HoldExpired => (R::HoldExpired, Kind::FailedPrecondition, "the time of the hold is over"),
            Self::HoldSettled => (R::HoldSettled, Kind::FailedPrecondition, "the hold was captured or released"),
            Self::AmountTooLarge => (R::AmountTooLarge, Kind::InvalidArgument, "the amount is more than there was"),
            Self::AlreadyReversed => (R::AlreadyReversed, Kind::FailedPrecondition, "the posting was reversed before"),
            Self::NotReversible => (R::NotReversible, Kind::FailedPrecondition, "the posting cannot be reversed so"),
            Self::HoldNotFound => (R::HoldNotFound, Kind::NotFound, "no such hold"),
            Self::PostingNotFound => (R::PostingNotFound, Kind::NotFound, "no such posting"),
            Self::KeyReused => (R::Unspecified, Kind::AlreadyExists, "the idempotency key named another request"),
            Self::Corrupt(what) => (R::Unspecified, Kind::Internal, what),
            Self::TimePassed => (R::Unspecified, Kind::InvalidArgument, "the time has passed"),
        }
    }
}

impl Refusal {
    /// Whether the books have decided it, so that its key is answered so for ever. What a request says wrong and what cannot be
    /// are no answers of theirs; a key that named something else has an answer.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.told().0 != WalletReason::Unspecified
    }

    /// The refusal that was kept; none for one that this version does not know.
    #[must_use]
    pub fn kept(kept: &v1::Refusal) -> Option<Self> {
        use WalletReason as R;
        let said = |key: &str| kept.metadata.get(key).map(String::as_str);
        Some(match R::from_str_name(&format!("{REASON}{}", kept.reason))? {
            R::InsufficientFunds => Self::InsufficientFunds {
                currency: Currency::from_str_name(&format!("{CURRENCY}{}", said("currency")?))?,
                available: said("available")?.parse().ok()?,
            },
            R::BalanceLimit => Self::BalanceLimit,
            R::HoldNotFound => Self::HoldNotFound,
            R::HoldExpired => Self::HoldExpired,
            R::HoldSettled => Self::HoldSettled,
            R::AmountTooLarge => Self::AmountTooLarge,
            R::PostingNotFound => Self::PostingNotFound,
            R::AlreadyReversed => Self::AlreadyReversed,
            R::NotReversible => Self::NotReversible,
            R::Unspecified => return None,
        })
    }

    /// What the reason alone does not say.
    fn details(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::InsufficientFunds { currency, available } => vec![
                ("currency", currency.as_str_name().trim_start_matches(CURRENCY).to_owned()),
                ("available", available.to_string()),
            ],
            _ => Vec::new(),
        }
    }
}

/// As it is kept, and told of one of many postings.
impl From<&Refusal> for v1::Refusal {
    fn from(refusal: &Refusal) -> Self {
        let problem = Problem::from(refusal.clone());
        let metadata = refusal.details().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self { reason: problem.reason().to_owned(), message: problem.message().to_owned(), metadata }
    }
}

/// The constant on the wire.
#[must_use]
pub fn constant(reason: WalletReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix(REASON).unwrap_or(name)
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (reason, kind, message) = refusal.told();
        match refusal {
            Refusal::Corrupt(_) => Self::internal(Error::Refused(refusal)),
            Refusal::KeyReused => Self::common(Reason::IdempotencyKeyReused, message),
            Refusal::TimePassed => {
                let description = "must be in the future".to_owned();
                Self::invalid(vec![Violation { field: "expires_at".to_owned(), description }])
            }
            _ => refusal
                .details()
                .into_iter()
                .fold(Self::new(kind, DOMAIN, constant(reason), message), |told, (key, value)| told.with(key, value)),
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
            // Shared by all of the batch, so it is told by what it is and logged with its chain.
            Error::Batch(shared) if shared.sqlx().is_some_and(is_transient) => {
                Self::common(Reason::DependencyUnavailable, "a part that this call needs is away; ask again")
                    .retry_after(Duration::from_secs(1))
                    .because(shared)
            }
            Error::Batch(shared) if matches!(*shared, Error::Database(DbError::Deadline)) => {
                Self::common(Reason::DeadlineExceeded, "the deadline passed")
            }
            Error::Batch(shared) => Self::internal(shared),
            Error::Group(error) => error.into(),
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
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_reason_of_its_own() {
        let all = [
            Refusal::InsufficientFunds { currency: Currency::Gold, available: 3 },
            Refusal::BalanceLimit,
            Refusal::HoldNotFound,
            Refusal::HoldExpired,
            Refusal::HoldSettled,
            Refusal::AmountTooLarge,
            Refusal::PostingNotFound,
            Refusal::AlreadyReversed,
            Refusal::NotReversible,
        ];
        for (number, refusal) in (1..).zip(all) {
            let (reason, ..) = refusal.told();
            assert_eq!(reason as i32, number, "{refusal:?}");
            assert!(refusal.is_decided());
            assert_eq!(Refusal::kept(&v1::Refusal::from(&refusal)), Some(refusal.clone()), "it is read as it was kept");
            let problem = Problem::from(refusal);
            assert_eq!((problem.domain(), problem.reason()), (DOMAIN, constant(reason)));
        }
        for other in [Refusal::KeyReused, Refusal::TimePassed, Refusal::Corrupt("?")] {
            assert!(!other.is_decided(), "{other:?}");
        }
        let reused = Problem::from(Refusal::KeyReused);
        assert_eq!((reused.kind(), reused.reason()), (Kind::AlreadyExists, "IDEMPOTENCY_KEY_REUSED"));
    }
}
