//! Loops: finish what was interrupted and ask after payments; keep receipt keys and gauges; look at receipts, and at payments that
//! were taken back.

use std::{sync::Arc, time::Duration};

use coreloop_db::{deadline, lease::Sweep};
use coreloop_service::Worker;
use coreloop_shop_api::v1::Category;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{App, Error, payment::PAYMENTS, purchase::Purchase, recheck, settle, store, time};

/// Purchases of one look. All are worked on at once: what is taken up does not wait while its time runs.
const TOGETHER: i64 = 16;
/// Between two looks at keys and gauges.
const KEEP: Duration = Duration::from_secs(5);
/// Receipts of one statement.
const PAGE: i64 = 500;
/// Between two of them.
const BREATH: Duration = Duration::from_millis(20);
/// A look at everything is asked for so often in the time between two: no process need live for all of it.
const ASKED: u32 = 24;
/// That look.
const RECEIPTS: Sweep = Sweep { schema: "shop", name: "receipts" };
/// The sweep of webhooks.
const WEBHOOKS: Sweep = Sweep { schema: "shop", name: "webhooks" };
/// Time between two such sweeps.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// What was met by rules against fraud is kept for so long.
const HITS: SignedDuration = SignedDuration::from_hours(90 * 24);
/// And webhooks: the same one is believed for ten minutes at most (five before and five after its time); a payment service that signs
/// it anew and sends it again gives up within days.
const HEARD: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Webhooks of one statement.
const FORGOTTEN: i64 = 5_000;

/// The service's loops.
#[must_use]
pub fn all(app: &Arc<App>) -> Vec<Worker> {
    let (items, conversions) = (Arc::clone(app), Arc::clone(app));
    let (keep, receipts, payments) = (Arc::clone(app), Arc::clone(app), Arc::clone(app));
    let mut workers = vec![
        // Apart: items do not wait for a payment service that is away.
        Worker::new("shop.due", move |stop| sweep(Arc::clone(&items), Category::Item, stop)),
        Worker::new("shop.settle", move |stop| sweep(Arc::clone(&conversions), Category::Conversion, stop)),
        Worker::new("shop.keep", move |stop| tend(Arc::clone(&keep), stop)),
    ];
    if app.options.verify_secs > 0 {
        let pause = asked(app.options.verify_secs);
        workers.push(Worker::new("shop.verify", move |stop| verify(Arc::clone(&receipts), pause, stop)));
    }
    if app.payments.is_set() && app.options.payment.recheck_secs > 0 {
        let pause = asked(app.options.payment.recheck_secs);
        workers.push(Worker::new("shop.paybacks", move |stop| paybacks(Arc::clone(&payments), pause, stop)));
    }
    workers
}

/// Replicas do not take turns: what one claims another does not see.
async fn sweep(app: Arc<App>, category: Category, stop: CancellationToken) {
    let pause = Duration::from_secs(app.options.sweep_secs.into());
    loop {
        match stop.run_until_cancelled(look(&app, category)).await {
            None => return,
            Some(Ok(found)) if found >= TOGETHER => continue,
            Some(Ok(_)) => {}
            Some(Err(error)) => tracing::warn!(%error, "open purchases could not be looked after"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            // A webhook: it is of a conversion.
            () = app.woken.notified(), if category == Category::Conversion => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Takes up some that are due; answers how many they were. What fails is due again when its lease is over.
async fn look(app: &App, category: Category) -> Result<i64, Error> {
    let now = app.clock.now();
    let until = time::later(now, app.options.lease_secs);
    let due = store::purchases::claim(&app.db, category, now, until, TOGETHER).await?;
    let found = i64::try_from(due.len()).unwrap_or(i64::MAX);
    join_all(due.into_iter().map(|purchase| take_up(app, purchase))).await;
    Ok(found)
}

/// Ends before the lease does, so that no two ask for the same purchase. What was asked may be on its way for longer.
async fn take_up(app: &App, purchase: Purchase) {
    let (id, tries, category) = (purchase.id, purchase.tries, purchase.category());
    let patience = Duration::from_secs(app.options.lease_secs.into()).saturating_sub(Duration::from_secs(1));
    let call = settle::resumed(&purchase.origin);
    let work = deadline::scope(Instant::now() + patience, settle::run(app, purchase));
    let work = tokio::time::timeout(patience, work);
    let outcome = match call {
        Some(call) => call.scope(work).await,
        None => work.await,
    };
    let payments_away = match &outcome {
        Ok(Err(Error::Away { part, .. })) => *part == PAYMENTS,
        Err(_) => category == Category::Conversion,
        _ => false,
    };
    if payments_away {
        let at = time::later(app.clock.now(), settle::pause(app, tries));
        let else_when_the_lease_ends = store::purchases::postpone(&app.db, id, tries, at).await;
        tracing::debug!(purchase = %id, postponed = else_when_the_lease_ends.is_ok(), "the payment service is left alone");
    }
    match outcome {
        Ok(Ok(purchase)) => tracing::debug!(purchase = %id, state = purchase.word(), tries, "taken up"),
        Ok(Err(error)) => tracing::warn!(purchase = %id, tries, %error, "a purchase stays open"),
        Err(_) => tracing::warn!(purchase = %id, tries, "a purchase stays open: it took too long"),
    }
}

async fn tend(app: Arc<App>, stop: CancellationToken) {
    loop {
        match stop.run_until_cancelled(keep(&app)).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, "keys and gauges could not be looked after"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(KEEP) => {}
        }
    }
}

async fn keep(app: &App) -> Result<(), Error> {
    app.keys.active().await?;
    if app.keys.rotate(app.options.receipt_key_secs).await? {
        tracing::info!("receipts are signed with another key");
    }
    // What is told comes before what is swept, which may fail or take long.
    app.metrics.open_mismatches(store::receipts::mismatched(&app.db).await?);
    app.metrics.pending(store::purchases::pending(&app.db).await?);
    for (package, left) in store::products::left(&app.db).await? {
        app.metrics.stock(package, left);
    }
    store::fraud::forget(&app.db, ago(app, HITS)).await?;
    if WEBHOOKS.is_due(&app.db, ago(app, DAY)).await? {
        WEBHOOKS.alone(&app.db, forget(app)).await?;
    }
    Ok(())
}

fn ago(app: &App, span: SignedDuration) -> Timestamp {
    app.clock.now().saturating_sub(span).unwrap_or_default()
}

async fn forget(app: &App) -> Result<(), Error> {
    let most = u64::try_from(FORGOTTEN).unwrap_or_default();
    while store::payments::forget(&app.db, ago(app, HEARD), FORGOTTEN).await? >= most {
        tokio::time::sleep(BREATH).await;
    }
    Ok(WEBHOOKS.done(&app.db, app.clock.now()).await?)
}

fn asked(secs: u32) -> Duration {
    Duration::from_secs((secs / ASKED).max(1).into())
}

async fn paybacks(app: Arc<App>, pause: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        match stop.run_until_cancelled(recheck::PAYBACKS.alone(&app.db, recheck::all(&app))).await {
            None => return,
            Some(Ok(_)) => {}
            Some(Err(error)) => tracing::warn!(%error, "payments that were confirmed could not be asked about"),
        }
    }
}

async fn verify(app: Arc<App>, pause: Duration, stop: CancellationToken) {
    loop {
        // First after a pause: a start is not the time to read everything.
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        match stop.run_until_cancelled(RECEIPTS.alone(&app.db, mismatches(&app))).await {
            None => return,
            Some(Ok(_)) => {}
            Some(Err(error)) => tracing::warn!(%error, "receipts could not be looked at"),
        }
    }
}

/// Looks at every receipt, where no replica has of late.
async fn mismatches(app: &App) -> Result<(), Error> {
    let now = app.clock.now();
    if !RECEIPTS.is_due(&app.db, ago(app, SignedDuration::from_secs(app.options.verify_secs.into()))).await? {
        return Ok(());
    }
    let some_did_not = store::receipts::mismatched(&app.db).await? > 0;
    let mut after = Uuid::nil();
    loop {
        let page = store::purchases::with_receipt(&app.db, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        let mut fitting = Vec::new();
        for purchase in &page {
            if fits(app, purchase).await? {
                fitting.push(purchase.id);
            } else if store::receipts::mismatch(&app.db, purchase.id, now).await? {
                app.metrics.mismatch();
                tracing::error!(purchase = %purchase.id, "a receipt does not say what the books say");
            }
        }
        if some_did_not {
            store::receipts::mended(&app.db, &fitting, now).await?;
        }
        // Whoever buys meanwhile comes first.
        tokio::time::sleep(BREATH).await;
    }
    Ok(RECEIPTS.done(&app.db, app.clock.now()).await?)
}

/// Whether a purchase says what its receipt says.
///
/// # Errors
/// When the database fails.
pub async fn fits(app: &App, purchase: &Purchase) -> Result<bool, Error> {
    let Some(receipt) = &purchase.receipt else { return Ok(false) };
    let key = app.keys.of(receipt.key_version).await?;
    Ok(key.is_some_and(|key| key.fits(purchase, receipt)))
}
