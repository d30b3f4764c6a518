//! A task comes to its end, once: state, counts, history and fact in the transaction of whoever ends it.

use coreloop_eventing::Facts;
use coreloop_facts::v1::{ScanCompleted, ScanFailed};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    history::{Happened, Scan},
    store::{
        counts,
        tasks::{self, State, Task},
    },
    tasks::send_next,
    times::proto_time,
    verdict::Verdict,
};

/// Why a task comes to nothing whose photo was removed: nothing can be found of it any more.
pub const IMAGE_GONE: &str = "IMAGE_GONE";

/// What a task came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// It has a result.
    Completed(Verdict),
    /// It came to nothing: a constant says why.
    Failed(String),
}

/// Whether it was written.
#[derive(Debug)]
pub enum Written {
    /// Now; the task as it is.
    Now(Box<Task>),
    /// It had come to its end before.
    Before,
    /// There is no such task.
    Never,
}

/// Writes what a task came to, in the transaction of `connection`, and sends the next that waits. What has a result keeps it; a
/// failed one may have one yet, unless its photo was removed.
///
/// # Errors
/// When the database fails.
pub async fn finish(app: &App, connection: &mut PgConnection, id: Uuid, ended: Ended) -> Result<Written, Error> {
    let Some(task) = tasks::lock(connection, id).await? else { return Ok(Written::Never) };
    let open = match ended {
        Ended::Completed(_) => task.state != State::Completed && task.failure != IMAGE_GONE,
        Ended::Failed(_) => task.state == State::Queued,
    };
    if !open {
        return Ok(Written::Before);
    }
    let now = app.clock.now();
    match ended {
        Ended::Completed(verdict) => complete(app, connection, &task, &verdict, now).await?,
        Ended::Failed(reason) => tasks::fail(connection, id, &reason, now).await?,
    }
    let version = task.version;
    let task = tasks::by_id(&mut *connection, id).await?.ok_or(Error::Corrupt("a locked task that is gone"))?;
    task.origin().within(tell(app, connection, &task, version, now)).await?;
    send_next(app, connection, now).await?;
    Ok(Written::Now(Box::new(task)))
}

/// Writes a result: what it earns the database decides, by the primary key of what has earned.
async fn complete(
    app: &App,
    connection: &mut PgConnection,
    task: &Task,
    verdict: &Verdict,
    now: Timestamp,
) -> Result<(), Error> {
    let mut unearned = reason_against(task, verdict, app.options.min_confidence);
    if unearned.is_none() && !counts::earn(connection, task.user_id, &task.etag, task.id).await? {
        unearned = Some("DUPLICATE_PHOTO");
    }
    tasks::complete(connection, task.id, verdict, unearned, now).await?;
    let day = task.day.to_jiff();
    counts::count(connection, (task.user_id, day), verdict.category, verdict.recyclable).await?;
    Ok(())
}

/// Why a result earns nothing, whatever was earned before.
fn reason_against(task: &Task, verdict: &Verdict, least: f64) -> Option<&'static str> {
    match () {
        // Anybody can name any address: only what a user has sent is known to be theirs, and to be the same again.
        () if task.image_id.is_none() || task.etag.is_empty() => Some("NO_PHOTO"),
        () if !verdict.is_known() => Some("UNKNOWN_CATEGORY"),
        () if verdict.confidence < least => Some("LOW_CONFIDENCE"),
        () => None,
    }
}

/// Tells what became of it, and adds it to its history.
async fn tell(
    app: &App,
    connection: &mut PgConnection,
    task: &Task,
    version: i64,
    now: Timestamp,
) -> Result<(), Error> {
    let mut facts = Facts::new();
    let happened = if task.state == State::Completed {
        let fact = completed(task, now);
        facts.add(&*app.ids, task.user_id.to_string(), &fact)?;
        Happened::Completed(Box::new(fact))
    } else {
        let fact = failed(task, now);
        facts.add(&*app.ids, task.user_id.to_string(), &fact)?;
        Happened::Failed(fact)
    };
    app.history.append_at::<Scan>(connection, (task.id, version), &[happened], &*app.ids, now).await?;
    app.outbox.write(connection, &facts, now).await?;
    Ok(())
}

fn completed(task: &Task, now: Timestamp) -> ScanCompleted {
    ScanCompleted {
        task_id: task.id.to_string(),
        user_id: task.user_id.to_string(),
        image_id: image_of(task),
        category: task.category.into(),
        sub_category: task.sub_category.clone(),
        confidence: task.confidence,
        recyclable: task.recyclable,
        reward_eligible: task.reward_eligible,
        day: task.day.to_jiff().to_string(),
        occurred_at: Some(proto_time(now)),
    }
}

fn failed(task: &Task, now: Timestamp) -> ScanFailed {
    ScanFailed {
        task_id: task.id.to_string(),
        user_id: task.user_id.to_string(),
        image_id: image_of(task),
        reason: task.failure.clone(),
        occurred_at: Some(proto_time(now)),
    }
}

/// As the contract says it.
#[must_use]
pub fn image_of(task: &Task) -> String {
    task.image_id.map(|id| id.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff_sqlx::ToSqlx as _;

    use super::*;
    use crate::store::tasks::Reward;

    fn task(image: bool, etag: &str) -> Task {
        let at = Timestamp::UNIX_EPOCH;
        Task {
            id: Uuid::from_u128(1),
            user_id: Uuid::from_u128(2),
            image_id: image.then_some(Uuid::from_u128(3)),
            image_url: String::new(),
            etag: etag.to_owned(),
            user_input: String::new(),
            state: State::Queued,
            version: 0,
            category: 0,
            sub_category: String::new(),
            confidence: 0.0,
            guidance: String::new(),
            recyclable: false,
            reward_eligible: false,
            reward_status: Reward::Open,
            reward_reason: String::new(),
            failure: String::new(),
            day: crate::times::day_of(at).to_sqlx(),
            created_at: at.to_sqlx(),
            done_at: None,
            traceparent: String::new(),
            request_id: String::new(),
        }
    }

    #[test]
    fn only_a_sure_result_of_a_photo_earns_something() {
        let verdict = |category, confidence| Verdict {
            category,
            sub_category: String::new(),
            confidence,
            guidance: String::new(),
            recyclable: true,
        };
        let against =
            |image, etag, category, confidence| reason_against(&task(image, etag), &verdict(category, confidence), 0.6);
        assert_eq!(against(true, "e", 5, 0.6), None);
        assert_eq!(against(true, "e", 5, 0.599), Some("LOW_CONFIDENCE"));
        assert_eq!(against(true, "e", 14, 0.99), Some("UNKNOWN_CATEGORY"));
        assert_eq!(against(false, "", 5, 0.99), Some("NO_PHOTO"));
        assert_eq!(against(true, "", 5, 0.99), Some("NO_PHOTO"));
    }
}
