//! Contract of the wallet service: stubs, facts and reasons.
//!
//! Written by `cargo xtask codegen` from `proto/`; besides, what everybody reads from a posting.

/// The wallet service, version 1.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
#[rustfmt::skip]
pub mod v1 {
    include!("gen/coreloop.wallet.v1.rs");
}

impl v1::Posting {
    /// What it changed of a user's account.
    #[must_use]
    pub fn delta_of(&self, user_id: &str, currency: v1::Currency) -> i64 {
        let theirs = |leg: &&v1::Leg| {
            let owner = leg.account.as_ref().and_then(|account| account.owner.as_ref());
            leg.currency() == currency && matches!(owner, Some(v1::account::Owner::UserId(id)) if id == user_id)
        };
        self.legs.iter().filter(theirs).map(|leg| leg.delta).sum()
    }
}
