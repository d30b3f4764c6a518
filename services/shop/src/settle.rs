//! What happens to a purchase after it was written down, until it is over or waits for the payment service.
//!
//! Whoever takes a purchase up goes on where it stands: its buyer's call, the worker after it was killed, the worker after a
//! webhook. Each step asks others by names that follow from the purchase, or writes only what is still so; so it does not
//! matter which steps were done before, or that two do the same one. What the wallet refuses is refused to whoever asks by that
//! name: an item that failed is never charged. The payment service may still say another thing to the next, so only who took it
//! up last (`tries`) ends it for nothing.

use std::{future::Future, sync::Arc};

use coreloop_service::{Call, Ended, Span, Target, Trace};
use coreloop_shop_api::v1::{Category, PurchaseState, ShopReason};
use http::HeaderValue;
use tokio::time::Instant;

use crate::{
    App, Error,
    error::{Refusal, constant},
    order::Origin,
    payment::{PAYMENTS, Said},
    purchase::Purchase,
    store::payments::{self, Verdict},
    time,
    wallet::Moved,
};

/// Name of the spans of a conversion's steps.
const SPAN: &str = "settlement_phase";
/// What the payment service itself has said.
const THEIRS: [&str; 3] = ["answer", "webhook", "poll"];
/// Why it is voided, where the payment service says so.
pub(crate) const PAID_BACK: &str = "PAID_BACK";
/// Why it is voided, where the payment service had confirmed it before.
pub(crate) const CHARGED_BACK: &str = "CHARGED_BACK";
/// Times that a purse which is emptied meanwhile is looked into again.
const TRIES: u32 = 3;

/// Goes on with a purchase.
///
/// # Errors
/// When somebody who is needed does not answer: what is open stays so, and is looked after later.
pub async fn run(app: &App, purchase: Purchase) -> Result<Purchase, Error> {
    if purchase.is_over() {
        return Ok(purchase);
    }
    match purchase.category() {
        Category::Conversion => conversion(app, purchase).await,
        Category::Item | Category::Unspecified => item(app, purchase).await,
    }
}

async fn item(app: &App, mut purchase: Purchase) -> Result<Purchase, Error> {
    match app.wallet.charge(&purchase).await? {
        Moved::Done { balance, .. } => {
            purchase.balance = balance;
            purchase.state = PurchaseState::Confirmed;
        }
        Moved::Refused { refusal, .. } => fail(&mut purchase, refusal),
    }
    end(app, purchase).await
}

async fn conversion(app: &App, mut purchase: Purchase) -> Result<Purchase, Error> {
    if purchase.verdict.is_none() {
        purchase = ask(app, purchase).await?;
    }
    match purchase.verdict {
        _ if purchase.is_over() => Ok(purchase),
        None => advance(app, purchase).await,
        Some(PurchaseState::Confirmed) => confirm(app, purchase).await,
        Some(verdict) => undo(app, purchase, verdict).await,
    }
}

/// Has it paid, or asks what became of the payment; answers the purchase as it then stands.
async fn ask(app: &App, purchase: Purchase) -> Result<Purchase, Error> {
    let (said, said_by) = if purchase.payment_id.is_empty() {
        (phase(app, &purchase, "pay", app.payments.pay(&purchase)).await?, "answer")
    } else {
        (phase(app, &purchase, "poll", app.payments.look(&purchase.payment_id)).await?, "poll")
    };
    let now = app.clock.now();
    let decided = |state, payment_id, reason, detail| {
        let next_at = time::later(now, app.options.lease_secs);
        Verdict { before: None, state, said_by, payment_id, reason, detail, next_at }
    };
    let changed = match &said {
        Said::Pending { payment_id } => {
            let next_at = time::later(now, pause(app, purchase.tries));
            payments::pending(&app.db, &purchase, payment_id, next_at).await?
        }
        Said::Confirmed { payment_id } => {
            let verdict = decided(PurchaseState::Confirmed, payment_id, "", "");
            payments::decide(&app.db, purchase.id, &verdict).await?
        }
        Said::Voided { payment_id, reason } => {
            let verdict = decided(PurchaseState::Voided, payment_id, PAID_BACK, reason);
            payments::decide(&app.db, purchase.id, &verdict).await?
        }
        Said::Refused { reason } => {
            let refused = constant(ShopReason::PaymentRefused);
            let verdict = decided(PurchaseState::Failed, "", refused, reason);
            payments::decide(&app.db, purchase.id, &verdict).await?
        }
    };
    if let Some(changed) = changed {
        return Ok(changed);
    }
    // Somebody was first; it is theirs, whatever it has become.
    let seen = app.again(purchase.id).await?;
    if let Said::Confirmed { payment_id } = &said
        && is_unpaid(seen.verdict.unwrap_or(seen.state))
    {
        tracing::error!(purchase = %seen.id, "paid for what is over: the points are given back");
        void(app, &seen, payment_id).await?;
    }
    Ok(Purchase { tries: purchase.tries, ..seen })
}

fn is_unpaid(state: PurchaseState) -> bool {
    matches!(state, PurchaseState::Voided | PurchaseState::Failed)
}

/// Time until a payment that is not decided is asked after, in seconds.
pub(crate) fn pause(app: &App, tries: i32) -> u32 {
    let options = &app.options.payment;
    let doubled = options.poll_secs.saturating_mul(1 << u32::try_from(tries).unwrap_or_default().min(16));
    doubled.min(options.poll_most_secs)
}

/// The payment is not decided: gives the GOLD at once, where that is the setting.
async fn advance(app: &App, mut purchase: Purchase) -> Result<Purchase, Error> {
    if app.options.settle_first {
        return Ok(purchase);
    }
    if !purchase.granting {
        // Written before it is given: who takes it back knows that it may be.
        purchase = match payments::granting(&app.db, purchase.id).await? {
            Some(changed) => changed,
            None => return app.again(purchase.id).await,
        };
    }
    if let Moved::Done { balance, .. } = phase(app, &purchase, "advance", app.wallet.give(&purchase)).await? {
        purchase.balance = balance;
    }
    Ok(purchase)
}

async fn confirm(app: &App, mut purchase: Purchase) -> Result<Purchase, Error> {
    match phase(app, &purchase, "give", app.wallet.give(&purchase)).await? {
        Moved::Done { balance, .. } => {
            purchase.balance = balance;
            purchase.state = PurchaseState::Confirmed;
        }
        Moved::Refused { refusal, .. } => {
            // Written before it is paid back: what is paid back is not given any more.
            return match payments::overrule(&app.db, &purchase, constant(refusal.reason)).await? {
                Some(changed) => undo(app, changed, PurchaseState::Failed).await,
                None => app.again(purchase.id).await,
            };
        }
    }
    end(app, purchase).await
}

/// Has the points of a purchase given back, which the payment service did not do by itself; answers what it calls the payment.
async fn unpay(app: &App, purchase: &Purchase) -> Result<String, Error> {
    let payment_id = if purchase.payment_id.is_empty() {
        // It may have been asked for. Asked again it is the same one, and has a name.
        match phase(app, purchase, "find_payment", app.payments.pay(purchase)).await? {
            Said::Refused { .. } => return Ok(String::new()),
            Said::Voided { payment_id, .. } => return Ok(payment_id),
            Said::Pending { payment_id } | Said::Confirmed { payment_id } => payment_id,
        }
    } else {
        purchase.payment_id.clone()
    };
    void(app, purchase, &payment_id).await?;
    Ok(payment_id)
}

async fn void(app: &App, purchase: &Purchase, payment_id: &str) -> Result<(), Error> {
    match phase(app, purchase, "void", app.payments.void(payment_id)).await? {
        Said::Voided { .. } | Said::Refused { .. } => Ok(()),
        Said::Pending { .. } | Said::Confirmed { .. } => {
            Err(Error::Away { part: PAYMENTS, said: "the points are not given back".to_owned() })
        }
    }
}

/// It is not paid for: what was given is taken back, as much as there is.
async fn undo(app: &App, mut purchase: Purchase, verdict: PurchaseState) -> Result<Purchase, Error> {
    if !THEIRS.contains(&purchase.said_by.as_str()) {
        purchase.payment_id = unpay(app, &purchase).await?;
    }
    purchase.state = verdict;
    // Found by giving it: a read would not find what is still on its way, and this way that is the same act.
    if purchase.granting
        && let Moved::Done { posting_id, .. } = phase(app, &purchase, "find", app.wallet.give(&purchase)).await?
    {
        purchase = take_back(app, purchase, &posting_id).await?;
        // Something moved, and some of it may be owed: it did not just fail.
        purchase.state = PurchaseState::Voided;
    }
    end(app, purchase).await
}

async fn take_back(app: &App, mut purchase: Purchase, posting_id: &str) -> Result<Purchase, Error> {
    let given = purchase.gold.saturating_add(purchase.bonus);
    if purchase.claw.is_none() {
        match phase(app, &purchase, "take_back", app.wallet.take_back(&purchase, posting_id)).await? {
            Moved::Done { balance, .. } => {
                purchase.balance = balance;
                return Ok(purchase);
            }
            // Some of it was spent. How much is left is written before it is taken, so that it is taken once.
            Moved::Refused { .. } => {
                let left = left(app, &purchase).await?;
                purchase = claw(app, purchase, None, left.min(given)).await?;
            }
        }
    }
    for _ in 0..TRIES {
        let amount = purchase.claw.unwrap_or_default();
        purchase.owed = given.saturating_sub(amount);
        if amount == 0 {
            return Ok(purchase);
        }
        match phase(app, &purchase, "claw", app.wallet.claw(&purchase, amount)).await? {
            Moved::Done { balance, delta, .. } => {
                purchase.balance = balance;
                purchase.owed = given.saturating_add(delta);
                tracing::warn!(purchase = %purchase.id, owed = purchase.owed, "a voided conversion was spent in part");
                return Ok(purchase);
            }
            // This amount is refused for ever; it may be there again.
            Moved::Refused { .. } => {
                let left = left(app, &purchase).await?;
                purchase = claw(app, purchase, Some(amount), left.min(amount - 1)).await?;
            }
        }
    }
    Err(Error::Away { part: "the wallet", said: "what is left of a voided conversion changes".to_owned() })
}

/// GOLD of the buyer now. A refusal says what there was when it was first asked for, which may be long ago.
async fn left(app: &App, purchase: &Purchase) -> Result<i64, Error> {
    Ok(phase(app, purchase, "balance", app.wallet.available(purchase.user)).await?.max(0))
}

async fn claw(app: &App, purchase: Purchase, before: Option<i64>, amount: i64) -> Result<Purchase, Error> {
    match payments::claw(&app.db, &purchase, before, amount).await? {
        Some(changed) => Ok(changed),
        None => Err(Error::Away { part: "the database", said: "another takes the same back".to_owned() }),
    }
}

fn fail(purchase: &mut Purchase, refusal: Refusal) {
    purchase.state = PurchaseState::Failed;
    purchase.reason = constant(refusal.reason).to_owned();
    purchase.detail = refusal.detail.map(|(_, value)| value).unwrap_or_default();
}

/// Ends it; answers it as it was written, by this or by another.
async fn end(app: &App, purchase: Purchase) -> Result<Purchase, Error> {
    let id = purchase.id;
    let Some(ended) = app.closing.end(purchase).await? else { return app.again(id).await };
    // What was settled long ago and is taken back was settled in its time.
    if ended.category() == Category::Conversion && ended.reason != CHARGED_BACK {
        let took = app.clock.now().duration_since(ended.created_at);
        app.metrics.settled(ended.word(), took.as_secs_f64());
    }
    Ok(*ended)
}

/// A step of a conversion, as a span of the purchase's trace: calls that are made in it stand below it.
async fn phase<T>(
    app: &App,
    purchase: &Purchase,
    name: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(call) = below(&purchase.origin, name) else { return work.await };
    let began = Instant::now();
    let outcome = Arc::clone(&call).scope(work).await;
    let failed = outcome.is_err();
    if let Some(spans) = app.spans.as_ref().filter(|_| failed || call.trace.sampled) {
        spans.take(Span {
            trace: call.trace,
            target: Arc::clone(&call.target),
            ended: app.clock.now(),
            took: began.elapsed(),
            outcome: Ended::Step(if failed { "failed" } else { "done" }),
            failed,
        });
    }
    outcome
}

/// A call below the one that runs. None where there is no trace.
fn below(origin: &Origin, name: &str) -> Option<Arc<Call>> {
    let running = Call::current().or_else(|| resumed(origin))?;
    let trace = running.trace.child(rand::random());
    Some(Arc::new(Call::new(running.request_id.clone(), trace, target(name), None)))
}

/// The call that asked for a purchase, for whoever goes on with it: steps hang where they would have hung.
#[must_use]
pub fn resumed(origin: &Origin) -> Option<Arc<Call>> {
    let trace = Trace::parse(&origin.traceparent)?;
    let request_id = HeaderValue::try_from(&origin.request_id).ok()?;
    Some(Arc::new(Call::new(request_id, trace, target("resume"), None)))
}

fn target(name: &str) -> Arc<Target> {
    let (domain, service) = ("shop".to_owned(), "shop".to_owned());
    Arc::new(Target { domain, service, method: name.to_owned(), path: SPAN.to_owned() })
}
