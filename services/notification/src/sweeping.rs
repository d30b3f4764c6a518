//! Looks now and then for what is due: pushes that waited for the end of quiet hours, commands that a broker has forgotten, what is too
//! old to be kept; and once a day for tokens under a key of before.

use std::{sync::Arc, time::Duration};

use coreloop_db::lease::Sweep;
use coreloop_eventing::{Facts, Queue};
use coreloop_service::Worker;
use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    App, Error,
    pushing::Push,
    store::{
        devices, inbox,
        pushes::{self, Due},
    },
};

/// A command has ended, or is a dead letter, this long after its queue would have let it expire: tries and their pauses (10, 60 and
/// 300 s) and its own time are in it.
const SPARE_SECS: i64 = 900;
/// Rows of one look.
const MOST: i64 = 200;
/// Between two looks for tokens under a key of before.
const DAY: SignedDuration = SignedDuration::from_hours(24);
const TOKENS: Sweep = Sweep { schema: "notification", name: "tokens" };

/// The loop.
#[must_use]
pub fn worker(app: &Arc<App>) -> Worker {
    let app = Arc::clone(app);
    Worker::new("notification.sweep", move |stop| sweep(Arc::clone(&app), stop))
}

/// Replicas take different rows, and what two do at once is done once.
async fn sweep(app: Arc<App>, stop: CancellationToken) {
    let pause = Duration::from_secs(app.options.sweep_secs.into());
    loop {
        match stop.run_until_cancelled(once(&app)).await {
            None => return,
            // There may be more.
            Some(Ok(true)) => continue,
            Some(Ok(false)) => {}
            Some(Err(error)) => tracing::warn!(%error, "pushes that wait could not be looked after"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// `true` when there may be more to do now.
async fn once(app: &App) -> Result<bool, Error> {
    let now = app.clock.now();
    let before = |secs| now.saturating_sub(SignedDuration::from_secs(secs)).unwrap_or(now);
    let sent = if app.options.pushes() { pushes_due(app, now, before).await? } else { false };
    let old = before(i64::from(app.options.keep_days) * 86_400);
    let forgotten = inbox::forget_old(&app.db, old, MOST).await?;
    if TOKENS.is_due(&app.db, before(DAY.as_secs())).await? {
        TOKENS.alone(&app.db, reseal(app, now)).await?;
    }
    Ok(sent || forgotten >= MOST.unsigned_abs())
}

/// Sends what is due, as far as there is room, and again what was lost; `true` when there is room and may be more.
async fn pushes_due(app: &App, now: Timestamp, before: impl Fn(i64) -> Timestamp) -> Result<bool, Error> {
    let lost = before(i64::from(Queue::NOTIFICATION_PUSH.ttl_secs()) + SPARE_SECS);
    let mut tx = coreloop_db::begin(&app.db).await?;
    for push in pushes::lost(&mut tx, lost, MOST).await? {
        // Under its key: sent again it does no harm.
        send(app, &mut tx, &push, push.command_key, now).await?;
    }
    let ahead = i64::from(app.options.ahead);
    let room = (ahead - pushes::on_their_way(&mut *tx, ahead).await?).clamp(0, MOST);
    let due = pushes::due(&mut tx, now, room).await?;
    for push in &due {
        // Its command before has ended, and is known to have: another begins.
        send(app, &mut tx, push, app.ids.uuid(), now).await?;
    }
    tx.commit().await?;
    Ok(!due.is_empty() && i64::try_from(due.len()) == Ok(MOST))
}

/// As a command in the trace of what it tells of.
async fn send(app: &App, connection: &mut PgConnection, push: &Due, key: Uuid, now: Timestamp) -> Result<(), Error> {
    pushes::send(connection, push.id, key, now).await?;
    let (mut facts, device) = (Facts::new(), push.device_id.to_string());
    facts.command(&*app.ids, Queue::NOTIFICATION_PUSH, device, key, &Push { push_id: push.id })?;
    Ok(push.origin().within(app.outbox.write(connection, &facts, now)).await?)
}

/// Seals anew what a key of before has sealed, so that it need not be kept for ever.
async fn reseal(app: &App, now: Timestamp) -> Result<(), Error> {
    let (mut after, mut closed) = (Uuid::nil(), 0);
    loop {
        let page = devices::otherwise(&app.db, app.vault.sealing(), after, MOST).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (id, sealed) in &page {
            match app.vault.reseal(*id, sealed) {
                Ok(anew) => devices::reseal(&app.db, *id, (sealed, &anew)).await?,
                Err(_) => closed += 1,
            }
        }
    }
    if closed > 0 {
        tracing::error!(tokens = closed, "tokens of devices do not open: name the key that sealed them old_master_key");
    }
    app.metrics.closed.set(closed);
    Ok(TOKENS.done(&app.db, now).await?)
}
