//! One loop: characters whose time is over go, and so do keys.

use std::{sync::Arc, time::Duration};

use coreloop_service::Worker;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    App, Error,
    changing::{self, Going},
    collection::{Collection, EXPIRED},
    store::{collections, ownership},
};

/// Rows of one look.
const PAGE: i64 = 100;
/// Keys of one statement.
const KEYS: i64 = 1_000;

/// The service's loops.
#[must_use]
pub fn all(app: &Arc<App>) -> Vec<Worker> {
    let expiring = Arc::clone(app);
    vec![Worker::new("character.expire", move |stop| expire(Arc::clone(&expiring), stop))]
}

/// Replicas may look at the same: the lock of the collection says who is first, and the other finds nothing to do.
async fn expire(app: Arc<App>, stop: CancellationToken) {
    let pause = Duration::from_secs(app.options.expire_secs.into());
    loop {
        match stop.run_until_cancelled(look(&app)).await {
            None => return,
            Some(Ok(found)) if found => continue,
            Some(Ok(_)) => {}
            Some(Err(error)) => tracing::warn!(%error, "what is over could not be looked at"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// `true` when there may be more.
async fn look(app: &App) -> Result<bool, Error> {
    let mut ended = 0;
    for (user, code) in ownership::over(&app.db, app.clock.now(), PAGE).await? {
        match end(app, user, &code).await {
            Ok(()) => ended += 1,
            // It is found again; the others need not wait for it.
            Err(error) => tracing::warn!(%error, user_id = %user, code, "a character stays though its time is over"),
        }
    }
    let mut connection = app.db.acquire().await?;
    let keys = app.keys.sweep(&mut connection, app.clock.now(), KEYS).await?;
    Ok(ended >= PAGE || keys >= KEYS.unsigned_abs())
}

async fn end(app: &App, user: Uuid, code: &str) -> Result<(), Error> {
    let now = app.clock.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    collections::lock(&mut tx, user).await?;
    let mut loaded = app.history.load::<Collection>(&mut tx, user).await?;
    // Somebody was first; or it came again meanwhile, for longer.
    if loaded.state().owned.get(code).is_none_or(|piece| piece.lasts(now.as_microsecond())) {
        return Ok(());
    }
    let going = Going { code, cause: EXPIRED, by: "" };
    let facts = changing::lose(app, &mut tx, &mut loaded, &going, now).await?;
    app.outbox.write(&mut tx, &facts, now).await?;
    tx.commit().await?;
    Ok(())
}
