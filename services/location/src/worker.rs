//! Loops: the index of sites is of the loading that the database has; shops that nobody keeps go.

use std::{sync::Arc, time::Duration};

use coreloop_service::Worker;
use tokio_util::sync::CancellationToken;

use crate::{App, Error, sites, sweeping};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(60);

/// The service's loops.
#[must_use]
pub fn all(app: &Arc<App>) -> Vec<Worker> {
    let indexing = Arc::clone(app);
    vec![Worker::new("location.sites", move |stop| index(Arc::clone(&indexing), stop)), sweeping::worker(app)]
}

/// Replicas may do the same at once: each makes an index of its own, and the last one stays.
async fn index(app: Arc<App>, stop: CancellationToken) {
    loop {
        match stop.run_until_cancelled(look(&app)).await {
            None => return,
            Some(Ok(true)) => tracing::info!("the index of sites was made anew"),
            Some(Ok(false)) => {}
            Some(Err(error)) => tracing::warn!(%error, "the index of sites could not be looked at"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn look(app: &App) -> Result<bool, Error> {
    match &app.redis {
        Some(redis) => sites::refresh(&app.db, redis, app.ids.uuid()).await,
        None => Ok(false),
    }
}
