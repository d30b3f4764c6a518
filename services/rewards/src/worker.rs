//! Loops: finish what was interrupted; look for gaps in the audit.

use std::{sync::Arc, time::Duration};

use coreloop_db::lease::Sweep;
use coreloop_service::Worker;
use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{App, Error, grants, redemptions, store};

/// Rows of one look, worked on at the same time: a claim is over before one that waits for its turn would be begun.
const AT_ONCE: usize = 8;
/// Rows of one page; the wallet answers a thousand keys at once.
const PAGE: i64 = 250;
/// What is younger is looked at every time.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// The look at the audit; done when it was at everything.
const AUDIT: Sweep = Sweep { schema: "rewards", name: "audit" };

/// Who is asked. A vendor that is away holds back nothing that the wallet would give.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Wallet,
    Vendor,
}

/// The service's loops.
#[must_use]
pub fn all(app: &Arc<App>) -> Vec<Worker> {
    let (due, given_up, books) = (Arc::clone(app), Arc::clone(app), Arc::clone(app));
    let mut workers = vec![
        Worker::new("rewards.recover", move |stop| recover(Arc::clone(&due), Asked::Wallet, stop)),
        Worker::new("rewards.given_up", move |stop| recover(Arc::clone(&given_up), Asked::Vendor, stop)),
    ];
    if app.options.audit_secs > 0 {
        workers.push(Worker::new("rewards.audit", move |stop| audit(Arc::clone(&books), stop)));
    }
    workers
}

/// Replicas take different ones, and what two do at once is one act by its key.
async fn recover(app: Arc<App>, asked: Asked, stop: CancellationToken) {
    let pause = Duration::from_millis(app.options.recover_every_ms);
    loop {
        match stop.run_until_cancelled(some(&app, asked)).await {
            None => return,
            Some(Ok(found)) if found => continue,
            Some(Ok(_)) => {}
            Some(Err(error)) => tracing::warn!(%error, "what was interrupted could not be taken up"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Takes up some of what was interrupted; `true` when there may be more.
async fn some(app: &App, asked: Asked) -> Result<bool, Error> {
    let (most, mut more) = (i64::try_from(AT_ONCE).unwrap_or(i64::MAX), false);
    if let Asked::Wallet = asked {
        let now = app.clock.now();
        let due = store::grants::claim_due(&app.db, now, app.claim(now), most).await?;
        more = due.len() >= AT_ONCE;
        stream::iter(due).for_each_concurrent(AT_ONCE, |id| grant(app, id)).await;
    }
    let now = app.clock.now();
    let (until, given_up) = (app.claim(now), app.given_up(now));
    let unfinished = match asked {
        Asked::Wallet => store::redemptions::claim_due(&app.db, now, until, given_up, most).await?,
        Asked::Vendor => store::redemptions::claim_given_up(&app.db, now, until, given_up, most).await?,
    };
    more |= unfinished.len() >= AT_ONCE;
    stream::iter(unfinished).for_each_concurrent(AT_ONCE, |id| redemption(app, id)).await;
    Ok(more)
}

async fn grant(app: &App, id: Uuid) {
    let outcome = async {
        let Some(grant) = store::grants::by_id(&app.db, id).await? else { return Ok(()) };
        grants::finish(app, grant).await.map(|_| ())
    };
    match outcome.await {
        Ok(()) | Err(Error::Refused(_)) => {}
        Err(error) => tracing::warn!(%error, grant_id = %id, "a grant could not be finished"),
    }
}

async fn redemption(app: &App, id: Uuid) {
    let outcome = async {
        let Some(redemption) = store::redemptions::by_id(&app.db, id).await? else { return Ok::<_, Error>(()) };
        // In the trace of whoever asked for it.
        let work = redemptions::recover(app, redemption);
        match store::origin::of(&app.db, id).await?.resumed() {
            Some(call) => call.scope(work).await,
            None => work.await,
        }
    };
    if let Err(error) = outcome.await {
        tracing::warn!(%error, redemption_id = %id, "a redemption could not be taken up");
    }
}

async fn audit(app: Arc<App>, stop: CancellationToken) {
    let pause = Duration::from_secs(app.options.audit_secs.into());
    loop {
        match stop.run_until_cancelled(AUDIT.alone(&app.db, books(&app))).await {
            None => return,
            Some(Ok(_)) => {}
            Some(Err(error)) => tracing::warn!(%error, "the audit could not be looked at"),
        }
        // Whichever replica has looked: all of them tell of what is there, one that has just begun as well.
        match stop.run_until_cancelled(store::audit::gaps(&app.db)).await {
            None => return,
            Some(Ok(gaps)) => _ = app.metrics.open_gaps.set(gaps),
            Some(Err(error)) => tracing::warn!(%error, "gaps in the audit could not be counted"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Gaps in the audit, points that the wallet took unheard, and codes under a key of before: of what is young, and of everything
/// once a day.
async fn books(app: &App) -> Result<(), Error> {
    let now = app.clock.now();
    let before = |span| now.saturating_sub(span).unwrap_or(now);
    let (day, old) = (before(DAY), before(SignedDuration::from_secs(app.options.gap_after_secs.into())));
    let whole = AUDIT.is_due(&app.db, day).await?;
    let since = if whole { Timestamp::UNIX_EPOCH } else { day };
    let mut tx = coreloop_db::begin(&app.db).await?;
    store::audit::take_time(&mut tx).await?;
    let mut gaps = store::audit::sweep_grants(&mut *tx, now, old, since).await?;
    gaps.extend(store::audit::sweep_redemptions(&mut *tx, now, old, since).await?);
    store::audit::mend(&mut *tx, now).await?;
    tx.commit().await?;
    for (subject, what) in gaps {
        app.metrics.gaps.inc();
        tracing::error!(%subject, what, "a gap in the audit of rewards");
    }
    // Whoever asks the wallet now has its answer by then.
    unheard(app, (before(DAY + DAY), before(SignedDuration::from_secs(app.options.recover_after_secs.into())))).await?;
    if whole {
        reseal(app).await?;
        AUDIT.done(&app.db, now).await?;
    }
    Ok(())
}

/// Asks the wallet whether it took points for what was cancelled.
async fn unheard(app: &App, ended: (Timestamp, Timestamp)) -> Result<(), Error> {
    let mut after = Uuid::nil();
    loop {
        let page = store::redemptions::cancelled(&app.db, ended, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = *last;
        redemptions::heard_late(app, &page).await?;
    }
}

/// Seals anew what a key of before has sealed, so that it need not be kept for ever.
async fn reseal(app: &App) -> Result<(), Error> {
    let (mut after, mut closed) = (Uuid::nil(), 0);
    loop {
        let page = store::sealed::otherwise(&app.db, app.vault.sealing(), after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (id, sealed) in &page {
            match app.vault.open(*id, sealed) {
                Ok(code) => {
                    store::sealed::reseal(&app.db, *id, &sealed.key, &app.vault.seal(*id, &code)?).await?;
                }
                Err(_) => closed += 1,
            }
        }
    }
    if closed > 0 {
        tracing::error!(codes = closed, "codes of vouchers do not open: name the key that sealed them old_master_key");
    }
    app.metrics.closed.set(closed);
    Ok(())
}
