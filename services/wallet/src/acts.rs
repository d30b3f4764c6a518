//! What administrators did to accounts, for the audit of the mesh: in the transaction of the batch that it was done in.

use std::{collections::BTreeSet, sync::Arc};

use coreloop_facts::{Act, Acts};
use coreloop_wallet_api::v1::account::Owner;
use jiff::Timestamp;
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    Error,
    books::{Books, REFUSED},
    commit::Outcome,
    order::Order,
};

/// Tells of the acts of administrators among what was asked: of those that this batch has posted, and of no other.
///
/// # Errors
/// When the database fails.
pub async fn tell(
    acts: &Acts,
    conn: &mut PgConnection,
    asked: impl Iterator<Item = (&Order, &Outcome)>,
    books: &Books,
    now: Timestamp,
) -> Result<(), Error> {
    let mut told = BTreeSet::new();
    for (order, outcome) in asked {
        let (Some(by), Ok(posting)) = (&order.by, outcome) else { continue };
        let mut posted = books.written.postings.iter().filter(|row| row.kind != REFUSED);
        // A key that comes twice is one act.
        if !posted.any(|row| row.id == order.id) || !told.insert(order.id) {
            continue;
        }
        for leg in &posting.legs {
            let Some(Owner::UserId(user)) = leg.account.as_ref().and_then(|account| account.owner.as_ref()) else {
                continue;
            };
            let (currency, balance) = (leg.currency().as_str_name(), leg.balance_after());
            let before = json!({ "currency": currency, "balance": balance - leg.delta });
            let after = json!({ "currency": currency, "balance": balance, "posting_id": posting.posting_id });
            let reason = order.cause.reason.as_str();
            let act = Act { by: by.id, subject: user, reason, before: Some(&before), after: Some(&after) };
            Arc::clone(&by.call).scope(acts.tell(conn, &act, now)).await?;
        }
    }
    Ok(())
}
