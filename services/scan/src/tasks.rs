//! Tasks begin, and are sent to whoever does them.
//!
//! A few are commands on their way ([`Options::ahead`](crate::Options)), the others rows that wait: whoever ends one sends what there
//! is room for then, in the same transaction. Each command travels in the trace of the call that its photo came by.

use coreloop_eventing::{Facts, Queue};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    origin::Origin,
    store::{
        tasks::{self, New},
        users,
        waiting::{self, Due},
    },
};

/// What the command says. Where the photo is, is asked for when it is looked at: a signed address is a secret, and ends.
#[derive(Debug, Serialize, Deserialize)]
pub struct Classify {
    /// Which task.
    pub task_id: Uuid,
}

/// Whether a task began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It is written.
    Now,
    /// The image or the key is known, and nothing was written.
    Before,
    /// Nor was anything of somebody who closed the account.
    Never,
}

/// Writes a task, and its command where there is room.
///
/// # Errors
/// When the database fails.
pub async fn begin(app: &App, connection: &mut PgConnection, new: &New) -> Result<Begun, Error> {
    if !users::hold(connection, new.user_id).await? {
        return Ok(Begun::Never);
    }
    let (now, ahead) = (app.clock.now(), i64::from(app.options.ahead));
    let room = app.sends && waiting::on_their_way(&mut *connection, ahead).await? < ahead;
    let origin = Origin::current();
    if !tasks::insert(connection, new, room.then_some(now), &origin).await? {
        return Ok(Begun::Before);
    }
    if room {
        let Origin { traceparent, request_id } = origin;
        send(app, connection, &[Due { id: new.id, traceparent, request_id }], now).await?;
    }
    Ok(Begun::Now)
}

/// Sends what there is room for of what waits.
///
/// # Errors
/// When the database fails.
pub async fn send_next(app: &App, connection: &mut PgConnection, now: Timestamp) -> Result<(), Error> {
    if !app.sends {
        return Ok(());
    }
    let ahead = i64::from(app.options.ahead);
    let room = ahead - waiting::on_their_way(&mut *connection, ahead).await?;
    if room <= 0 {
        return Ok(());
    }
    let due = waiting::take(connection, now, room).await?;
    send(app, connection, &due, now).await
}

/// Writes commands. The key is the task: one that takes long holds back no other. Sent again, one is done once.
///
/// # Errors
/// When the database fails.
pub async fn send(app: &App, connection: &mut PgConnection, due: &[Due], now: Timestamp) -> Result<(), Error> {
    for one in due {
        let mut facts = Facts::new();
        facts.command(&*app.ids, Queue::SCAN_CLASSIFY, one.id.to_string(), one.id, &Classify { task_id: one.id })?;
        one.origin().within(app.outbox.write(&mut *connection, &facts, now)).await?;
    }
    Ok(())
}
