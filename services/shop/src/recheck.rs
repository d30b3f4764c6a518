//! Charge-backs that no webhook told of: the payment service is asked once a day about what it confirmed in the last weeks.
//!
//! What it says here takes GOLD from people who may have done nothing, so only a clear word about this very payment counts; and one
//! that takes back a good part of all it ever confirmed is more likely wrong than right: it is believed so often a day and no more.

use std::time::Duration;

use coreloop_db::{begin, lease::Sweep};
use coreloop_shop_api::v1::PurchaseState;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::{
    App, Error, chargeback,
    payment::{Now, PAYMENTS},
    store::{
        payments::Verdict,
        purchases::{self, Given},
    },
};

/// The look at payments.
pub const PAYBACKS: Sweep = Sweep { schema: "shop", name: "paybacks" };
/// Payments that are asked about at the same time.
const TOGETHER: i64 = 8;
/// Between two times.
const BREATH: Duration = Duration::from_millis(20);
/// Payments in a row of which nothing is heard: it is away.
const SILENT: usize = 8;
/// So many of a look are taken back whatever the others say.
const FEW: usize = 50;
/// Of more than those, one of so many at most.
const SHARE: usize = 5;

/// What a look has heard.
#[derive(Debug, Default)]
struct Heard {
    asked: usize,
    /// Nothing of so many, one after the other.
    silent: usize,
    /// Nothing of so many, or that it does not know them any more.
    unheard: usize,
    taken_back: usize,
}

impl Heard {
    /// Whether so many are taken back that none of it is to be believed.
    fn is_too_much(&self) -> bool {
        self.taken_back > FEW && self.taken_back * SHARE > self.asked
    }
}

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
    let mut heard = Heard::default();
    loop {
        let page = purchases::given(&app.db, after, now, TOGETHER).await?;
        let Some(last) = page.last() else { break };
        after = (last.closed_at.to_jiff(), last.id);
        let said = join_all(page.iter().map(|given| app.payments.since(given.id, &given.payment_id))).await;
        for (given, said) in page.iter().zip(said) {
            listen(app, given, said, &mut heard, now).await?;
        }
        if heard.silent >= SILENT {
            break;
        }
        if heard.is_too_much() {
            let Heard { taken_back, asked, .. } = heard;
            tracing::error!(taken_back, asked, "the payment service takes back too much: no more is believed today");
            app.metrics.contradiction();
            break;
        }
        tokio::time::sleep(BREATH).await;
    }
    if heard.silent > 0 && (heard.silent >= SILENT || heard.silent == heard.asked) {
        return Err(Error::Away { part: PAYMENTS, said: format!("nothing of {} payments", heard.silent) });
    }
    if heard.unheard > 0 {
        tracing::warn!(payments = heard.unheard, "the payment service says nothing of some that it confirmed");
    }
    Ok(PAYBACKS.done(&app.db, now).await?)
}

/// Takes in what was said of one; what was taken back is opened again.
async fn listen(
    app: &App,
    given: &Given,
    said: Result<Now, Error>,
    heard: &mut Heard,
    now: Timestamp,
) -> Result<(), Error> {
    heard.asked += 1;
    heard.silent = if matches!(said, Err(Error::Away { .. })) { heard.silent + 1 } else { 0 };
    let reason = match said {
        Ok(Now::Stands) => return Ok(()),
        Ok(Now::TakenBack { reason }) => reason,
        Ok(Now::Unknown) | Err(Error::Away { .. }) => {
            heard.unheard += 1;
            tracing::debug!(purchase = %given.id, "nothing is said of a payment that was confirmed");
            return Ok(());
        }
        Ok(Now::Contradicts) => {
            app.metrics.contradiction();
            tracing::warn!(purchase = %given.id, "what is said of a payment that was confirmed cannot be");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    heard.taken_back += 1;
    if heard.is_too_much() {
        return Ok(());
    }
    let verdict = Verdict {
        before: None,
        state: PurchaseState::Voided,
        said_by: "poll",
        payment_id: &given.payment_id,
        reason: "",
        detail: &reason,
        next_at: now,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_taken_back_and_then_no_more_than_a_share() {
        let heard = |taken_back, asked| Heard { taken_back, asked, ..Heard::default() };
        for (taken_back, asked, too_much) in
            [(1, 1, false), (50, 50, false), (51, 51, true), (51, 254, true), (51, 255, false)]
        {
            assert_eq!(heard(taken_back, asked).is_too_much(), too_much, "{taken_back} of {asked}");
        }
    }
}
