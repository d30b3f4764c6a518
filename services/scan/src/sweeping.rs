//! Looks now and then for what was lost: commands that a broker has forgotten, jobs that nobody answered, rows that wait although
//! there is room.

use std::{sync::Arc, time::Duration};

use coreloop_eventing::Queue;
use coreloop_service::Worker;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::{
    App, Error,
    finishing::Ended,
    jobs::end,
    store::waiting,
    tasks::{send, send_next},
};

/// A command has ended, or is a dead letter, this long after its queue would have let it expire: tries and their pauses (10, 60 and
/// 300 s) and its own time are in it.
const SPARE_SECS: i64 = 900;
/// Rows of one look.
const MOST: i64 = 100;

/// The loop.
#[must_use]
pub fn worker(app: &Arc<App>) -> Worker {
    let app = Arc::clone(app);
    Worker::new("scan.sweep", move |stop| sweep(Arc::clone(&app), stop))
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
    let pulls = i32::try_from(app.options.max_pulls).unwrap_or(i32::MAX);
    for id in waiting::given_up(&app.db, now, pulls, MOST).await? {
        end(app, id, Ended::Failed("NO_RESULT".to_owned())).await?;
    }
    let life = i64::from(Queue::SCAN_CLASSIFY.ttl_secs()) + SPARE_SECS;
    let lost = now.saturating_sub(SignedDuration::from_secs(life)).unwrap_or(now);
    if !app.sends {
        // Nobody reads the queue any more.
        waiting::give_back_lost(&app.db, lost).await?;
        return Ok(());
    }
    let mut tx = coreloop_db::begin(&app.db).await?;
    let due = waiting::take_lost(&mut tx, now, lost, MOST).await?;
    send(app, &mut tx, &due, now).await?;
    send_next(app, &mut tx, now).await?;
    tx.commit().await?;
    Ok(())
}
