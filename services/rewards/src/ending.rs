//! Redemptions that a vendor neither issues nor cancels: an administrator ends them. What it issues after that is counted.

use coreloop_core::UserId;
use coreloop_facts::Act;
use coreloop_rewards_api::v1::RewardsReason;
use serde_json::json;
use uuid::Uuid;

use crate::{
    App, Error, redemptions,
    store::{
        audit::{self, Line},
        redemptions::{Redemption, State, Step, by_id},
    },
    vendor::Said,
};

/// Why what an administrator ended came to nothing.
const OPERATOR: &str = "OPERATOR";

/// Ends what a vendor neither issues nor cancels, by the word of an administrator. The vendor is told to cancel it once more, for it
/// alone knows whether it has issued; where it says nothing everything goes back all the same.
///
/// # Errors
/// `REDEMPTION_NOT_FOUND`; `IN_PROGRESS` while it is not known to be paid; `REDEMPTION_SETTLED` where it has ended otherwise.
pub async fn end(app: &App, id: Uuid, by: UserId, why: &str) -> Result<Redemption, Error> {
    let known = by_id(&app.db, id).await?.ok_or(RewardsReason::RedemptionNotFound)?;
    let mut heard = None;
    if known.state == State::Paid {
        let next = match app.vendor.cancel(id).await {
            Ok(said @ Said::Issued(_)) => redemptions::of_vendor(app, id, said)?,
            Ok(Said::Refused(_)) => Step::Refused { reason: OPERATOR.to_owned() },
            Err(problem) => {
                tracing::warn!(redemption_id = %id, error = %redemptions::chain(&problem), "a vendor says nothing of what is ended");
                Step::Refused { reason: OPERATOR.to_owned() }
            }
        };
        if let Some(ended) = end_as(app, id, &next, (by, why)).await? {
            return redemptions::advance(app, ended).await;
        }
        heard = Some(next);
    }
    let now = by_id(&app.db, id).await?.ok_or(RewardsReason::RedemptionNotFound)?;
    // Somebody else was first: what the vendor has said counts all the same.
    if let Some(next) = &heard {
        late(app, Some(&now), next);
    }
    match now.state {
        State::Reserved => Err(redemptions::in_progress()),
        State::Returning | State::Failed if now.reason == OPERATOR => Ok(now),
        _ => Err(RewardsReason::RedemptionSettled.into()),
    }
}

/// Writes the step with who took it, and why.
async fn end_as(app: &App, id: Uuid, next: &Step, (by, why): (UserId, &str)) -> Result<Option<Redemption>, Error> {
    let (now, subject) = (app.clock.now(), id.to_string());
    let mut tx = coreloop_db::begin(&app.db).await?;
    let Some(ended) = redemptions::write_step(app, &mut tx, id, next).await? else {
        tx.rollback().await?;
        return Ok(None);
    };
    let (actor, detail) = (format!("user:{by}"), json!({ "what": "redemption", "reason": why }));
    let line = Line { subject: id, step: "ended_by_hand", actor: &actor, user: ended.user_id, detail };
    audit::write(&mut tx, &line, now).await?;
    let (before, after) = (json!({ "state": State::Paid.name() }), json!({ "state": ended.state.name() }));
    let act = Act { by, subject: &subject, reason: why, before: Some(&before), after: Some(&after) };
    app.acts.tell(&mut tx, &act, now).await?;
    tx.commit().await?;
    redemptions::count(app, &ended);
    Ok(Some(ended))
}

/// Counts what was issued for a redemption that had been given back by then: nobody has it, and the vendor may be asked for its price.
pub fn late(app: &App, now: Option<&Redemption>, next: &Step) {
    let given_back = now.filter(|now| matches!(now.state, State::Returning | State::Failed));
    if let (Some(redemption), Step::Issued { order_id, .. }) = (given_back, next) {
        app.metrics.late.inc();
        tracing::error!(redemption_id = %redemption.id, order_id, "a voucher was issued for what had been given back");
    }
}
