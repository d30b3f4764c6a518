//! Once a day: forgets shops that a provider found, that no search has met for `shop_keep_days` and of which we know no more than the
//! provider. Whatever somebody keeps or was at stays. Found again, a shop has the id that it had.

use std::{sync::Arc, time::Duration};

use coreloop_db::lease::Sweep;
use coreloop_service::Worker;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{App, Error, store::shops};

/// Between two looks whether it is time.
const PAUSE: Duration = Duration::from_secs(60);
/// Between two sweeps.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Shops of one transaction.
const MOST: i64 = 500;
/// Between two of them: whoever searches or keeps one comes first.
const BREATH: Duration = Duration::from_millis(20);
const SHOPS: Sweep = Sweep { schema: "location", name: "shops" };

/// The loop.
#[must_use]
pub fn worker(app: &Arc<App>) -> Worker {
    let app = Arc::clone(app);
    Worker::new("location.shops", move |stop| sweep(Arc::clone(&app), stop))
}

async fn sweep(app: Arc<App>, stop: CancellationToken) {
    loop {
        match stop.run_until_cancelled(once(&app)).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, "shops that nobody keeps could not be looked for"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Of all replicas one does it.
async fn once(app: &App) -> Result<(), Error> {
    if SHOPS.is_due(&app.db, before(app.clock.now(), DAY)).await? {
        SHOPS.alone(&app.db, forget(app)).await?;
    }
    Ok(())
}

/// Looks at each that is old enough once.
async fn forget(app: &App) -> Result<(), Error> {
    let now = app.clock.now();
    let since = before(now, SignedDuration::from_hours(24 * i64::from(app.options.shop_keep_days)));
    let (mut after, mut forgotten) = (None, 0);
    loop {
        let mut tx = coreloop_db::begin(&app.db).await?;
        let page = shops::unmet(&mut tx, since, after, MOST).await?;
        let ids: Vec<Uuid> = page.iter().map(|shop| shop.id).collect();
        forgotten += shops::forget(&mut tx, &ids).await?;
        tx.commit().await?;
        match page.last() {
            Some(last) if i64::try_from(page.len()) == Ok(MOST) => after = Some((last.updated_at.to_jiff(), last.id)),
            _ => break,
        }
        tokio::time::sleep(BREATH).await;
    }
    if forgotten > 0 {
        tracing::info!(shops = forgotten, "shops that no search finds any more were forgotten");
    }
    Ok(SHOPS.done(&app.db, now).await?)
}

fn before(now: Timestamp, span: SignedDuration) -> Timestamp {
    now.saturating_sub(span).unwrap_or(now)
}
