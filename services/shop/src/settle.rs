//! What happens to a purchase after it was written down, until it is over or waits for the payment service.
//!
//! Whoever takes a purchase up goes on where it stands: its buyer's call, the worker after it was killed, the worker after a
//! webhook. Each step asks others by names that follow from the purchase, or writes only what is still so; so it does not
//! matter which steps were done before, or that two do the same one.

use std::{future::Future, sync::Arc};

use coreloop_service::{Call, Ended, Span, Target, Trace};
use coreloop_shop_api::v1::{Category, PurchaseState, ShopReason};
use http::HeaderValue;
use tokio::time::Instant;

use crate::{
    App, Error,
    error::{Refusal, constant},
    order::Origin,
    payment::Said,
    purchase::Purchase,
    store::payments::{self, Verdict},
    time,
    wallet::Moved,
};

/// Name of the spans of a conversion's steps.
const SPAN: &str = "settlement_phase";
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
        Verdict { state, said_by, payment_id, reason, detail, next_at }
    };
    let changed = match &said {
        Said::Pending { payment_id } => {
            let next_at = time::later(now, pause(app, purchase.tries));
            payments::pending(&app.db, purchase.id, payment_id, next_at).await?
        }
        Said::Confirmed { payment_id } => {
            let verdict = decided(PurchaseState::Confirmed, payment_id, "", "");
            payments::decide(&app.db, purchase.id, &verdict).await?
        }
        Said::Voided { payment_id, reason } => {
            let verdict = decided(PurchaseState::Voided, payment_id, reason, "");
            payments::decide(&app.db, purchase.id, &verdict).await?
        }
        Said::Refused { reason } => {
            let refused = constant(ShopReason::PaymentRefused);
            let verdict = decided(PurchaseState::Failed, "", refused, reason);
            payments::decide(&app.db, purchase.id, &verdict).await?
        }
    };
    match changed {
        Some(changed) => Ok(changed),
        // Somebody was first.
        None => app.again(purchase.id).await,
    }
}

/// Time until a payment that is not decided is asked after, in seconds.
fn pause(app: &App, tries: i32) -> u32 {
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
            // It was paid for and cannot be given: it is paid back.
            phase(app, &purchase, "void", app.payments.void(&purchase.payment_id)).await?;
            fail(&mut purchase, refusal);
        }
    }
    end(app, purchase).await
}

/// It is not paid for: what was given is taken back, as much as there is.
async fn undo(app: &App, mut purchase: Purchase, verdict: PurchaseState) -> Result<Purchase, Error> {
    if purchase.granting
        && let Moved::Done { posting_id, .. } = phase(app, &purchase, "find", app.wallet.give(&purchase)).await?
    {
        purchase = take_back(app, purchase, &posting_id).await?;
    }
    purchase.state = verdict;
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
            Moved::Refused { available, .. } => purchase = claw(app, purchase, None, available.min(given)).await?,
        }
    }
    for _ in 0..TRIES {
        let amount = purchase.claw.unwrap_or_default();
        purchase.owed = given.saturating_sub(amount);
        if amount == 0 {
            return Ok(purchase);
        }
        match phase(app, &purchase, "claw", app.wallet.claw(&purchase, amount)).await? {
            Moved::Done { balance, .. } => {
                purchase.balance = balance;
                tracing::warn!(purchase = %purchase.id, owed = purchase.owed, "a voided conversion was spent in part");
                return Ok(purchase);
            }
            Moved::Refused { available, .. } => {
                purchase = claw(app, purchase, Some(amount), available.min(amount)).await?;
            }
        }
    }
    Err(Error::Away { part: "the wallet", said: "what is left of a voided conversion changes".to_owned() })
}

async fn claw(app: &App, purchase: Purchase, before: Option<i64>, amount: i64) -> Result<Purchase, Error> {
    match payments::claw(&app.db, purchase.id, before, amount).await? {
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
    if ended.category() == Category::Conversion {
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
