//! Looks now and then for what was lost or waits: commands that a broker has forgotten, photos for whose copies there is room by now,
//! and what was sent and never registered.

use std::{sync::Arc, time::Duration};

use coreloop_eventing::Queue;
use coreloop_service::Worker;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{
    App, Error,
    processing::{send, send_next},
    store::{places, unprocessed},
};

/// A command has ended, or is a dead letter, this long after its queue would have let it expire: tries and their pauses (10, 60 and
/// 300 s) and its own time are in it.
const SPARE_SECS: i64 = 900;
/// What was removed is removed once more after this long: longer than any registration that had asked storage before.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// Commands of one look, and objects.
const MOST: i64 = 100;
const MOST_OBJECTS: i64 = 500;

/// The loop.
#[must_use]
pub fn worker(app: &Arc<App>) -> Worker {
    let app = Arc::clone(app);
    Worker::new("image.sweep", move |stop| sweep(Arc::clone(&app), stop))
}

async fn sweep(app: Arc<App>, stop: CancellationToken) {
    let pause = Duration::from_secs(app.options.sweep_secs.into());
    loop {
        match stop.run_until_cancelled(once(&app)).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, "photos that wait could not be looked after"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Replicas take different rows, and what two do at once is done once.
async fn once(app: &App) -> Result<(), Error> {
    let now = app.clock.now();
    if app.sends {
        resend(app, now).await?;
    }
    clear(app, now).await
}

async fn resend(app: &App, now: Timestamp) -> Result<(), Error> {
    let life = i64::from(Queue::IMAGE_PROCESS.ttl_secs()) + SPARE_SECS;
    let lost = now.saturating_sub(SignedDuration::from_secs(life)).unwrap_or(now);
    let mut tx = coreloop_db::begin(&app.db).await?;
    let due = unprocessed::take_lost(&mut tx, now, lost, MOST).await?;
    send(app, &mut tx, due, now).await?;
    send_next(app, &mut tx, now).await?;
    tx.commit().await?;
    Ok(())
}

/// Removes what was sent to places that nobody registered in time.
async fn clear(app: &App, now: Timestamp) -> Result<(), Error> {
    places::forget_registered(&app.db, now).await?;
    let again = now.saturating_add(AGAIN).unwrap_or(now);
    for due in places::take_due(&app.db, (now, again), MOST_OBJECTS).await? {
        match app.storage.remove(&due.object_key, app.clock.now()).await {
            Ok(()) if due.again => places::forget(&app.db, due.image_id).await?,
            Ok(()) => {}
            // It is taken again then, with all that wait for storage.
            Err(away) => {
                let failure = app.storage_failed("delete", &away);
                tracing::warn!(%failure, "what nobody registered is still in storage");
            }
        }
    }
    Ok(())
}
