//! Work for workers outside of the mesh: they lease what waits, load the photos themselves, and say what they found.

use coreloop_scan_api::v1::{AiResult, Judgement};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::{
    App, Error,
    finishing::{Ended, IMAGE_GONE, Written, finish},
    store::{
        tasks::{self, State, Task},
        waiting,
    },
    verdict::{Saying, Verdict},
};

/// Most jobs that are leased at once.
pub const MOST: i32 = 10;

/// A photo to be classified. It has no `Debug`: where to load it from is a secret.
pub struct Job {
    /// The task.
    pub task: Task,
    /// Where storage has it; empty: it was given by an address.
    pub object_key: String,
    /// Where to load it from.
    pub get_url: String,
    /// Where people load it from; empty: it was given by an address.
    pub cdn_url: String,
}

/// Leases what waits, the oldest first, and until when.
///
/// # Errors
/// When the database fails, or no photo could be asked for.
pub async fn pull(app: &App, most: i32, lease_secs: i32) -> Result<(Vec<Job>, Timestamp), Error> {
    let now = app.clock.now();
    let most = if most == 0 { MOST } else { most };
    let secs = if lease_secs == 0 { app.options.lease_secs.into() } else { i64::from(lease_secs) };
    // As exact as the database keeps it: the lease is told apart by it.
    let until = now.saturating_add(SignedDuration::from_secs(secs)).unwrap_or(now);
    let until = Timestamp::from_microsecond(until.as_microsecond()).unwrap_or(until);
    let pulls = i32::try_from(app.options.max_pulls).unwrap_or(i32::MAX);
    let leased = waiting::lease(&app.db, (now, until), pulls, most.into()).await?;
    let (mut jobs, mut away) = (Vec::new(), None);
    for job in join_all(leased.into_iter().map(|id| job(app, id, until))).await {
        match job {
            Ok(job) => jobs.extend(job),
            Err(error) => away = Some(error),
        }
    }
    jobs.sort_by_key(|job| (job.task.created_at.to_jiff(), job.task.id));
    match away {
        Some(error) if jobs.is_empty() => Err(error),
        _ => Ok((jobs, until)),
    }
}

/// A leased task as a job; none of an image that is gone. One whose photo cannot be asked for is nobody's again.
async fn job(app: &App, id: Uuid, until: Timestamp) -> Result<Option<Job>, Error> {
    let Some(task) = tasks::by_id(&app.db, id).await?.filter(|task| task.state == State::Queued) else {
        return Ok(None);
    };
    let Some(image) = task.image_id else {
        let (get_url, none) = (task.image_url.clone(), String::new());
        return Ok(Some(Job { task, object_key: none.clone(), get_url, cdn_url: none }));
    };
    match task.origin().within(app.images.find(image)).await {
        Ok(Some(found)) => {
            Ok(Some(Job { task, object_key: found.object_key, get_url: found.get_url, cdn_url: found.cdn_url }))
        }
        Ok(None) => {
            end(app, id, Ended::Failed(IMAGE_GONE.to_owned())).await?;
            Ok(None)
        }
        Err(problem) => {
            waiting::release(&app.db, id, until).await?;
            Err(problem.into())
        }
    }
}

/// Takes what a worker has found.
///
/// # Errors
/// When the database fails.
pub async fn submit(app: &App, result: AiResult) -> Result<Judgement, Error> {
    let Ok(id) = result.task_id.parse::<Uuid>() else { return Ok(Judgement::TaskUnknown) };
    let ended = if result.failure.is_empty() {
        let saying = Saying {
            category: result.category,
            sub_category: Some(result.sub_category),
            confidence: result.confidence,
            guidance: Some(result.guidance),
            recyclable: result.recyclable,
        };
        match Verdict::of(saying) {
            Some(verdict) => Ended::Completed(verdict),
            None => return Ok(Judgement::Nonsense),
        }
    } else {
        Ended::Failed(result.failure)
    };
    Ok(match end(app, id, ended).await? {
        Written::Now(_) => Judgement::Taken,
        Written::Before => Judgement::Ended,
        Written::Never => Judgement::TaskUnknown,
    })
}

/// Ends a task in a transaction of its own.
///
/// # Errors
/// When the database fails.
pub async fn end(app: &App, id: Uuid, ended: Ended) -> Result<Written, Error> {
    let mut tx = coreloop_db::begin(&app.db).await?;
    let written = finish(app, &mut tx, id, ended).await?;
    tx.commit().await?;
    if let Written::Now(task) = &written {
        app.metrics.ended(task);
    }
    Ok(written)
}
