//! What requests have in common.

use coreloop_access::Caller;
use coreloop_core::{Problem, UserId, Violation};
use coreloop_wallet_api::v1;
use tonic::Request;
use uuid::Uuid;

use crate::{
    Error,
    funds::{Lot, Micros, NEVER},
    order::{Cause, Currency, Party, is_person},
};

/// Collects what is wrong, so that all of it is told at once.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Notes one.
    pub fn add(&mut self, field: &str, description: &str) {
        self.0.push(Violation { field: field.to_owned(), description: description.to_owned() });
    }

    /// A user's id.
    pub fn user(&mut self, field: &str, text: &str) -> UserId {
        let user = text.parse().ok().filter(is_person);
        user.unwrap_or_else(|| {
            self.add(field, "must be the id of a user");
            UserId(Uuid::nil())
        })
    }

    /// When value expires; absent: never.
    pub fn expiry(&mut self, field: &str, at: Option<&prost_types::Timestamp>) -> Micros {
        let Some(at) = at else { return NEVER };
        let micros = crate::books::micros(at);
        if jiff::Timestamp::from_microsecond(micros).is_err() {
            self.add(field, "must be a time before the year 9999");
        }
        micros
    }

    /// A party of a movement.
    pub fn party(&mut self, field: &str, account: Option<&v1::Account>) -> Party {
        match Party::of(account) {
            Some(Party::House(v1::House::Escrow | v1::House::Unspecified)) | None => {
                self.add(field, "must be a user or an account of the house but escrow");
                Party::House(v1::House::Sink)
            }
            Some(party) => party,
        }
    }

    /// Nothing was wrong.
    ///
    /// # Errors
    /// Everything that was.
    pub fn none(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }
}

/// A currency as the database numbers it; the contract let only known ones through.
#[must_use]
pub fn currency(number: i32) -> Currency {
    Currency::try_from(number).unwrap_or_default()
}

/// The kind of value that the house gives.
#[must_use]
pub fn lot(funds: Option<i32>, expires_at: Micros) -> Lot {
    Lot { paid: funds == Some(v1::Funds::Paid.into()), expires_at }
}

/// An account of the house, or the usual one.
#[must_use]
pub fn house(asked: Option<i32>, usual: v1::House) -> v1::House {
    asked.and_then(|house| v1::House::try_from(house).ok()).unwrap_or(usual)
}

/// Why a machine asks.
///
/// # Errors
/// When it is no machine; what [`words`] finds.
pub fn cause<T>(request: &Request<T>, reason: &str, reference: &str, key: String) -> Result<Cause, Problem> {
    words(&[("reason", reason), ("reference", reference), ("idempotency_key", &key)])?;
    let service = &Caller::of(request)?.require_machine()?.service;
    Ok(Cause {
        caller: format!("service:{service}").into(),
        actor: format!("service:{service}").into(),
        key,
        reason: reason.to_owned(),
        reference: reference.to_owned(),
    })
}

/// Words that the database keeps. It keeps no NUL, and would refuse a whole batch for one.
///
/// # Errors
/// Names those that have one.
pub fn words(words: &[(&str, &str)]) -> Result<(), Problem> {
    let mut wrong = Violations::default();
    for (field, _) in words.iter().filter(|(_, text)| text.contains('\0')) {
        wrong.add(field, "must not contain U+0000");
    }
    if wrong.0.is_empty() { Ok(()) } else { Err(Problem::invalid(wrong.0)) }
}
