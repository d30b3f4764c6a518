//! Charge-backs that no webhook told of: the payment service is asked once a day about what it confirmed in the last weeks.

use coreloop_db::{begin, lease::Sweep};
use coreloop_shop_api::v1::PurchaseState;
use futures::future::join_all;
use jiff::SignedDuration;
use uuid::Uuid;

use crate::{
    App, Error, chargeback,
    payment::{PAYMENTS, Said},
    store::{
        payments::Verdict,
        purchases::{self, Given},
    },
};

/// The look at payments.
pub const PAYBACKS: Sweep = Sweep { schema: "shop", name: "paybacks" };
/// Payments that are asked about at the same time.
const TOGETHER: i64 = 8;

/// Asks about every payment of the last `recheck_days`, where no replica has of late.
///
/// # Errors
/// When the database fails, or the payment service is away: it is asked about all of them again.
pub async fn all(app: &App) -> Result<(), Error> {
    let (options, now) = (&app.options.payment, app.clock.now());
    let before = |span: SignedDuration| now.saturating_sub(span).unwrap_or_default();
    if !PAYBACKS.is_due(&app.db, before(SignedDuration::from_secs(options.recheck_secs.into()))).await? {
        return Ok(());
    }
    let mut after = (before(SignedDuration::from_hours(24 * i64::from(options.recheck_days))), Uuid::nil());
    let mut unheard = 0_usize;
    loop {
        let page = purchases::given(&app.db, after, TOGETHER).await?;
        let Some(last) = page.last() else { break };
        after = (last.closed_at.to_jiff(), last.id);
        let outcomes = join_all(page.iter().map(|given| one(app, given))).await;
        let failed = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::Away { .. }))).count();
        // It may not know one of before any more; that it knows none is another matter.
        if failed == page.len() && failed > 1 {
            return Err(Error::Away { part: PAYMENTS, said: format!("nothing of {failed} payments") });
        }
        unheard += failed;
        for outcome in outcomes {
            match outcome {
                Ok(()) | Err(Error::Away { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    if unheard > 0 {
        tracing::warn!(payments = unheard, "the payment service says nothing of some that it confirmed");
    }
    Ok(PAYBACKS.done(&app.db, now).await?)
}

/// Asks about one; what was taken back is opened again.
async fn one(app: &App, given: &Given) -> Result<(), Error> {
    let reason = match app.payments.look(&given.payment_id).await? {
        Said::Voided { reason, .. } | Said::Refused { reason } => reason,
        Said::Confirmed { .. } | Said::Pending { .. } => return Ok(()),
    };
    let verdict = Verdict {
        before: None,
        state: PurchaseState::Voided,
        said_by: "poll",
        payment_id: &given.payment_id,
        reason: "",
        detail: &reason,
        next_at: app.clock.now(),
    };
    let mut tx = begin(&app.db).await?;
    let opened = chargeback::open(&mut tx, given.id, &verdict).await?;
    tx.commit().await?;
    if let Some(purchase) = &opened {
        tracing::warn!(purchase = %purchase.id, "no webhook told of a payment that was taken back");
        chargeback::told(app, purchase);
    }
    Ok(())
}
