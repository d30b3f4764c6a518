//! Looks now and then for answers that were lost: a broker forgot the command, or nobody could say that it died.

use std::{sync::Arc, time::Duration};

use coreloop_eventing::Queue;
use coreloop_service::Worker;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::{
    App, Error,
    ending::{Ended, end},
    said::Took,
    store::{answers, usage},
    times::day_of,
};

/// A command has ended, or is a dead letter, this long after its queue would have let it expire and its own time: what comes later
/// counts all the same, for an answer that has failed may be there yet.
const SPARE_SECS: i64 = 60;
/// Rows of one look.
const MOST: i64 = 100;
/// What answers took is known for so long, in days.
const KEPT_DAYS: i64 = 40;

/// The loop.
#[must_use]
pub fn worker(app: &Arc<App>) -> Worker {
    let app = Arc::clone(app);
    Worker::new("chat.sweep", move |stop| sweep(Arc::clone(&app), stop))
}

async fn sweep(app: Arc<App>, stop: CancellationToken) {
    let pause = Duration::from_secs(app.options.sweep_secs.into());
    loop {
        match stop.run_until_cancelled(once(&app)).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, "answers that were lost could not be looked for"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Replicas may find the same: whoever is first ends it, and the others find it ended.
async fn once(app: &App) -> Result<(), Error> {
    let now = app.clock.now();
    let own = i64::try_from(app.options.model_timeout_ms / 1_000).unwrap_or(i64::MAX);
    let life = i64::from(Queue::CHAT_PIPELINE.ttl_secs()).saturating_add(own).saturating_add(SPARE_SECS);
    let since = now.saturating_sub(SignedDuration::from_secs(life)).unwrap_or(now);
    for lost in answers::lost(&app.db, since, MOST).await? {
        let mut tx = coreloop_db::begin(&app.db).await?;
        let ended = Ended::Failed { reason: "LOST".to_owned(), took: Took::default() };
        if end(app, &mut tx, (lost.id, lost.command_id), &ended).await? {
            tx.commit().await?;
            app.metrics.ended("lost");
        }
    }
    let before = now.saturating_sub(SignedDuration::from_hours(24 * KEPT_DAYS)).unwrap_or(now);
    usage::sweep(&app.db, day_of(before), MOST).await?;
    Ok(())
}
