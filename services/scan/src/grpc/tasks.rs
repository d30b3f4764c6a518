//! `Classify`, `GetTask`, `ListHistory`, `GetStats`: of the caller, and of nobody else.

use coreloop_access::Caller;
use coreloop_core::page;
use coreloop_db::DbError;
use coreloop_scan_api::v1::{self, ScanReason};
use jiff::Timestamp;
use tonic::{Request, Response};
use uuid::Uuid;

use crate::{
    App, Error, classifying,
    finishing::image_of,
    stats,
    store::{
        counts,
        tasks::{Task, Wanted, by_id, of_user},
    },
    times::{day_of, parse_day, proto_time},
};

/// Name of the list in its page tokens.
const HISTORY: &str = "scan.history";

/// As its owner sees it.
#[must_use]
pub fn proto_task(task: Task) -> v1::Task {
    v1::Task {
        task_id: task.id.to_string(),
        image_id: image_of(&task),
        state: task.state as i32,
        category: task.category.into(),
        sub_category: task.sub_category,
        confidence: task.confidence,
        guidance: task.guidance,
        recyclable: task.recyclable,
        reward_eligible: task.reward_eligible,
        reward_status: task.reward_status as i32,
        reward_reason: task.reward_reason,
        failure: task.failure,
        created_at: Some(proto_time(task.created_at.to_jiff())),
        done_at: task.done_at.map(|at| proto_time(at.to_jiff())),
    }
}

/// `Classify`.
///
/// # Errors
/// As the contract lists.
pub async fn classify(
    app: &App,
    request: Request<v1::ClassifyRequest>,
) -> Result<Response<v1::ClassifyResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let task = proto_task(classifying::classify(app, user, request.into_inner()).await?);
    app.cache.keep(user.0, &task).await;
    Ok(Response::new(v1::ClassifyResponse { state: task.state, task_id: task.task_id }))
}

/// `GetTask`: one of somebody else is none.
///
/// # Errors
/// `TASK_NOT_FOUND`.
pub async fn get_task(app: &App, request: Request<v1::GetTaskRequest>) -> Result<Response<v1::GetTaskResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let task_id = &request.get_ref().task_id;
    let id: Uuid = task_id.parse().map_err(|_| Error::invalid("task_id", "must be a UUID"))?;
    let answer = |task: v1::Task| Ok(Response::new(v1::GetTaskResponse { task: Some(task) }));
    if let Some(task) = app.cache.result(user, id).await {
        return answer(task);
    }
    let found = match by_id(&app.db, id).await {
        Ok(found) => found.filter(|task| task.user_id == user).ok_or(ScanReason::TaskNotFound)?,
        // As it was when it was answered last.
        Err(error) if coreloop_db::is_transient(&error) => {
            let task = app.cache.task(user, id).await;
            return answer(task.ok_or(Error::Database(DbError::Sqlx(error)))?);
        }
        Err(error) => return Err(error.into()),
    };
    let task = proto_task(found);
    app.cache.keep(user, &task).await;
    answer(task)
}

/// `ListHistory`.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`; a day that is none.
pub async fn list_history(
    app: &App,
    request: Request<v1::ListHistoryRequest>,
) -> Result<Response<v1::ListHistoryResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.get_ref();
    let size = page::size(asked.page_size);
    let cursor: Option<(i64, Uuid)> = page::decode(HISTORY, &asked.page_token)?;
    let wanted = Wanted {
        from: parse_day("from_date", &asked.from_date)?,
        to: parse_day("to_date", &asked.to_date)?,
        category: i16::try_from(asked.category).ok().filter(|category| *category > 0),
        before: cursor.and_then(|(at, id)| Some((Timestamp::from_microsecond(at).ok()?, id))),
    };
    let mut rows = of_user(&app.db, user.0, &wanted, size + 1).await?;
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| page::encode(HISTORY, &(row.created_at.to_jiff().as_microsecond(), row.id)));
    Ok(Response::new(v1::ListHistoryResponse {
        tasks: rows.into_iter().map(proto_task).collect(),
        next_page_token: next.unwrap_or_default(),
    }))
}

/// `GetStats`.
///
/// # Errors
/// When the database fails.
pub async fn get_stats(
    app: &App,
    request: Request<v1::GetStatsRequest>,
) -> Result<Response<v1::GetStatsResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let today = day_of(app.clock.now());
    let (monday, first) = stats::firsts(today);
    let rows = counts::of_user(&app.db, user.0, (monday.min(first), today)).await?;
    Ok(Response::new(stats::of(today, &rows)))
}
