//! Somebody has read what they were told: row, history and fact in one transaction, in order with what they are told meanwhile.

use coreloop_eventing::Facts;
use coreloop_facts::v1::NotificationRead;
use coreloop_notification_api::v1::NotificationReason;
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    history::{Happened, Note},
    store::{inbox, people},
    times::{micros, proto_time},
};

/// Notifications that are marked in one transaction.
const TOGETHER: i64 = 200;

/// Marks one as read; when it was read first.
///
/// # Errors
/// `NOTIFICATION_NOT_FOUND`; when the database fails.
pub async fn one(app: &App, user: Uuid, id: Uuid) -> Result<Timestamp, Error> {
    let now = micros(app.clock.now());
    let mut tx = coreloop_db::begin(&app.db).await?;
    people::lock(&mut tx, user).await?;
    if !inbox::mark(&mut tx, user, id, now).await? {
        let known = inbox::read_at(&mut *tx, user, id).await?;
        return known.ok_or_else(|| NotificationReason::NotificationNotFound.into());
    }
    note(app, &mut tx, user, &[id], now).await?;
    tx.commit().await?;
    Ok(now)
}

/// Marks all that came until a time as read, some at a time; how many were not.
///
/// # Errors
/// When the database fails: what was marked by then stays marked.
pub async fn all(app: &App, user: Uuid, until: Option<Timestamp>) -> Result<usize, Error> {
    // What comes while this runs was not seen.
    let now = app.clock.now();
    let until = until.map_or(now, |until| until.min(now));
    let mut marked = 0_usize;
    loop {
        let mut tx = coreloop_db::begin(&app.db).await?;
        people::lock(&mut tx, user).await?;
        let ids = inbox::mark_some(&mut tx, user, (until, now), TOGETHER).await?;
        if ids.is_empty() {
            tx.rollback().await?;
            return Ok(marked);
        }
        note(app, &mut tx, user, &ids, now).await?;
        tx.commit().await?;
        marked = marked.saturating_add(ids.len());
    }
}

/// Tells it, and adds it to the history of each.
async fn note(app: &App, connection: &mut PgConnection, user: Uuid, ids: &[Uuid], now: Timestamp) -> Result<(), Error> {
    let fact = |ids: &[Uuid]| NotificationRead {
        user_id: user.to_string(),
        notification_ids: ids.iter().map(Uuid::to_string).collect(),
        occurred_at: Some(proto_time(now)),
    };
    for id in ids {
        // It was made once, and is read once.
        let happened = [Happened::Read(fact(&[*id]))];
        app.history.append_at::<Note>(connection, (*id, 1), &happened, &*app.ids, now).await?;
    }
    let mut facts = Facts::new();
    facts.add(&*app.ids, user.to_string(), &fact(ids))?;
    Ok(app.outbox.write(connection, &facts, now).await?)
}
