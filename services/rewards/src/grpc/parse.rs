//! What requests have in common.

use coreloop_core::{UserId, Violation};
use coreloop_rewards_api::v1::{self, RewardKind};
use uuid::Uuid;

use crate::{Error, grants::Gift, store::grants::Grant, times::proto_time};

/// Collects what is wrong, so that all of it is told at once.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Notes one.
    pub fn add(&mut self, field: &str, description: &str) {
        self.0.push(Violation { field: field.to_owned(), description: description.to_owned() });
    }

    /// A user's id: the lowest numbers are the wallet's house's.
    pub fn user(&mut self, field: &str, text: &str) -> UserId {
        let user = text.parse().ok().filter(|user: &UserId| user.0.as_u128() > u128::from(u32::MAX));
        user.unwrap_or_else(|| {
            self.add(field, "must be the id of a user");
            UserId(Uuid::nil())
        })
    }

    /// What is given: items and characters have a name, nothing else has.
    pub fn gift(&mut self, kind: i32, amount: i64, item: &str) -> Gift {
        let kind = RewardKind::try_from(kind).unwrap_or_default();
        let named = matches!(kind, RewardKind::Item | RewardKind::Character);
        if named && item.is_empty() {
            self.add("item", "must say which");
        }
        if !named && !item.is_empty() {
            self.add("item", "must be empty for this kind");
        }
        Gift { kind, amount, item: item.to_owned() }
    }

    /// Nothing was wrong.
    ///
    /// # Errors
    /// Everything that was.
    pub fn none(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }
}

/// A grant as the contract has it.
#[must_use]
pub fn proto_grant(grant: Grant) -> v1::Grant {
    v1::Grant {
        grant_id: grant.id.to_string(),
        user_id: grant.user_id.to_string(),
        kind: grant.kind.into(),
        amount: grant.amount,
        item: grant.item,
        external_event_id: grant.external_event_id,
        state: grant.state as i32,
        posting_id: grant.posting.map(|id| id.to_string()).unwrap_or_default(),
        reason: grant.reason,
        created_at: Some(proto_time(grant.created_at.to_jiff())),
        granted_at: grant.ended_at.map(|at| proto_time(at.to_jiff())),
    }
}
