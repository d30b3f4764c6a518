//! What became of what a photo had earned: it was given, or could not be (then it is told, once).

use coreloop_eventing::Facts;
use coreloop_facts::v1::ScanRewardCompensated;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    finishing::image_of,
    history::{Happened, Scan},
    store::tasks::{self, Reward},
    times::proto_time,
};

/// What a task had earned was given. One that is not pending stays as it is.
///
/// # Errors
/// When the database fails.
pub async fn granted(connection: &mut PgConnection, id: Uuid) -> Result<(), Error> {
    let Some(task) = tasks::lock(connection, id).await? else { return Ok(()) };
    if task.reward_status == Reward::Pending {
        tasks::reward(connection, id, Reward::Granted, "", 0).await?;
    }
    Ok(())
}

/// What a task had earned could not be given: written down with why, added to its history, and told. One that is not pending stays as
/// it is.
///
/// # Errors
/// When the database fails.
pub async fn compensated(app: &App, connection: &mut PgConnection, id: Uuid, reason: &str) -> Result<(), Error> {
    let Some(task) = tasks::lock(connection, id).await?.filter(|task| task.reward_status == Reward::Pending) else {
        return Ok(());
    };
    let now = app.clock.now();
    tasks::reward(connection, id, Reward::Failed, reason, 1).await?;
    let fact = ScanRewardCompensated {
        task_id: task.id.to_string(),
        user_id: task.user_id.to_string(),
        image_id: image_of(&task),
        reason: reason.to_owned(),
        occurred_at: Some(proto_time(now)),
    };
    let mut facts = Facts::new();
    facts.add(&*app.ids, task.user_id.to_string(), &fact)?;
    let happened = [Happened::Compensated(fact)];
    app.history.append_at::<Scan>(connection, (id, task.version), &happened, &*app.ids, now).await?;
    app.outbox.write(connection, &facts, now).await?;
    Ok(())
}
