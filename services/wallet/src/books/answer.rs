//! What is answered, as the contract says it, and read back from it.

use coreloop_wallet_api::v1;

use super::Draft;
use crate::{
    funds::{Lot, Micros, NEVER, Part},
    order::{Order, Party},
};

/// The answer: what a draft comes to where the accounts then hold `balances`.
pub(super) fn posting(order: &Order, draft: &Draft, balances: &[i64], at: Micros) -> v1::Posting {
    let legs = draft.legs.iter().zip(balances).map(|(leg, balance)| v1::Leg {
        account: Some(leg.party.account()),
        currency: leg.currency.into(),
        delta: leg.delta,
        balance_after: matches!(leg.party, Party::User(_)).then_some(*balance),
        parts: leg.parts.iter().map(|part| proto_part(*part)).collect(),
    });
    v1::Posting {
        posting_id: order.id.to_string(),
        kind: draft.kind.into(),
        reason: order.cause.reason.clone(),
        reference: order.cause.reference.clone(),
        legs: legs.collect(),
        posted_at: Some(proto_time(at)),
        hold_id: draft.hold.map(|(id, _)| id.to_string()).unwrap_or_default(),
        hold_expires_at: draft.hold_expires_at.map(proto_time),
        reverses: draft.reverses.map(|id| id.to_string()).unwrap_or_default(),
        user_id: draft.hold.map(|(_, user)| user.to_string()).unwrap_or_default(),
    }
}

/// Microseconds as the contract says them.
#[must_use]
pub fn proto_time(at: Micros) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.rem_euclid(1_000_000) * 1_000).unwrap_or_default();
    prost_types::Timestamp { seconds: at.div_euclid(1_000_000), nanos }
}

/// A time of the contract in microseconds.
#[must_use]
pub fn micros(at: &prost_types::Timestamp) -> Micros {
    at.seconds.saturating_mul(1_000_000).saturating_add(i64::from(at.nanos) / 1_000)
}

fn proto_part(part: Part) -> v1::Part {
    let funds = if part.lot.paid { v1::Funds::Paid } else { v1::Funds::Free };
    let expires_at = (part.lot.expires_at != NEVER).then(|| proto_time(part.lot.expires_at));
    v1::Part { funds: funds.into(), expires_at, amount: part.amount }
}

/// The parts of a leg as it was answered.
#[must_use]
pub fn parts_of(leg: &v1::Leg) -> Vec<Part> {
    let part = |part: &v1::Part| Part {
        lot: Lot { paid: part.funds() == v1::Funds::Paid, expires_at: part.expires_at.as_ref().map_or(NEVER, micros) },
        amount: part.amount,
    };
    leg.parts.iter().map(part).collect()
}
