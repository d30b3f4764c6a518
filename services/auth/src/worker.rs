//! Loops: publish revocations, rebuild a lost Redis, keep and rotate keys, sweep what is over.

use std::{sync::Arc, time::Duration};

use coreloop_db::lease::Lease;
use coreloop_service::Worker;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{App, Error, keys, store};

/// Between two looks for revocations that are not published, and for a Redis that lost its data.
const REVOCATIONS: Duration = Duration::from_millis(500);
/// Between two sweeps.
const SWEEP: Duration = Duration::from_secs(60);
/// Rows that one statement of a sweep drops at most, so that none holds many locks; it is asked again until it drops fewer.
const SWEPT_AT_ONCE: u64 = 1_000;
/// Sessions are kept this long after their time, ended or not, so that a late replay is still told from an unknown token.
const KEEP_SESSIONS: SignedDuration = SignedDuration::from_hours(24);

/// Audits of who withdrew this short a time ago are looked at again: one may have been stored while they did.
const RECENTLY_WITHDRAWN: SignedDuration = SignedDuration::from_hours(24);

/// Expired reset tokens are kept this long: they count in how many an account was given.
const KEEP_RESETS: SignedDuration = SignedDuration::from_hours(24);

/// The service's loops.
#[must_use]
pub fn all(app: &Arc<App>) -> Vec<Worker> {
    let (revocations, keys, sweep) = (Arc::clone(app), Arc::clone(app), Arc::clone(app));
    vec![
        Worker::new("auth.revocations", move |stop| publish(Arc::clone(&revocations), stop)),
        Worker::new("auth.keys", move |stop| keep_keys(Arc::clone(&keys), stop)),
        Worker::new("auth.sweep", move |stop| clean(Arc::clone(&sweep), stop)),
    ]
}

/// The first look comes at once: until Redis says that it is complete, no token is admitted.
async fn publish(app: Arc<App>, stop: CancellationToken) {
    loop {
        let outcome = match app.publisher.rebuild_if_lost().await {
            Ok(_) => app.publisher.catch_up().await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "revocations could not be looked after");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.publisher.lost() => {}
            () = tokio::time::sleep(REVOCATIONS) => {}
        }
    }
}

async fn keep_keys(app: Arc<App>, stop: CancellationToken) {
    let pause = Duration::from_secs(app.options.keys_reload_secs.into());
    let mut changed = app.gate.revocations().keys_changed();
    loop {
        if let Err(error) = tend_keys(&app).await {
            tracing::warn!(%error, "signing keys could not be looked after");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = changed.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Reads the keys again (another replica may have rotated them), publishes a next key, rotates when it is time.
async fn tend_keys(app: &App) -> Result<(), Error> {
    let before = app.keys.jwks();
    app.keys.reload(&app.db, app.now()).await?;
    if app.keys.prepare(&app.db, app.now()).await? {
        app.keys_changed().await;
    } else if app.keys.jwks() != before {
        app.gate.keys().set(&app.keys.jwks());
        // The gate was told by the same word and may be reading what this process published before: it looks once more.
        app.gate.keys().refresh().await;
    }
    if !due(app.keys.active_since(&app.db, app.now()).await?, app.options.rotation_days, app.now()) {
        return Ok(());
    }
    // Whoever comes second finds the keys rotated.
    let Some(lease) = Lease::try_take(&app.db, "auth.rotate_keys").await? else { return Ok(()) };
    let outcome = if due(app.keys.active_since(&app.db, app.now()).await?, app.options.rotation_days, app.now()) {
        app.keys.rotate(app).await.map(|_| ())
    } else {
        Ok(())
    };
    lease.give_up().await;
    match outcome {
        Err(error) if keys::too_soon(&error) => Ok(()),
        other => other,
    }
}

/// Sweeps a table until nothing in it is over: what comes in a minute must go in a minute, however much it is.
async fn drain<F: Future<Output = Result<u64, Error>>>(mut some: impl FnMut() -> F) -> Result<(), Error> {
    while some().await? >= SWEPT_AT_ONCE {}
    Ok(())
}

fn due(active_since: Option<Timestamp>, days: u32, now: Timestamp) -> bool {
    let age = SignedDuration::from_hours(i64::from(days) * 24);
    active_since.is_some_and(|since| now.duration_since(since) >= age)
}

async fn clean(app: Arc<App>, stop: CancellationToken) {
    loop {
        // A stop does not wait for a table that is full of what is over.
        stop.run_until_cancelled(sweep(&app)).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
    }
}

/// One table that fails, as when somebody holds it locked, keeps no other from being swept.
async fn sweep(app: &App) {
    let now = app.now();
    let past = |ago: SignedDuration| now.checked_sub(ago).unwrap_or(now);
    let (db, guards) = (&app.db, SignedDuration::from_secs(2 * i64::from(app.options.lockout_secs)));
    let swept = [
        ("sessions", drain(|| store::sessions::sweep(db, past(KEEP_SESSIONS))).await),
        ("revocations", drain(|| store::revocations::sweep(db, now)).await),
        ("guards", drain(|| store::guards::sweep(db, past(guards))).await),
        ("processed", drain(|| store::processed::sweep(db, now)).await),
        ("keys", store::keys::sweep(db, now).await.map(drop)),
        ("resets", store::resets::sweep(db, past(KEEP_RESETS)).await.map(drop)),
        ("audits of the withdrawn", store::audits::mask_withdrawn(db, past(RECENTLY_WITHDRAWN)).await.map(drop)),
        ("count of sessions", count_sessions(app).await),
    ];
    for (what, outcome) in swept {
        if let Err(error) = outcome {
            tracing::warn!(%error, what, "what is over could not be swept");
        }
    }
}

async fn count_sessions(app: &App) -> Result<(), Error> {
    app.metrics.active_sessions.set(store::sessions::count_live(&app.db, app.live_after()).await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_due_after_their_days() {
        let since: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert!(!due(Some(since), 90, "2026-03-31T23:59:59Z".parse().unwrap()));
        assert!(due(Some(since), 90, "2026-04-01T00:00:00Z".parse().unwrap()));
        assert!(!due(None, 90, since));
    }
}
