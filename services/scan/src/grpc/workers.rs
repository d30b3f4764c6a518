//! `PullJobs`, `SubmitAiResult`, for workers outside of the mesh; `FindByImage`, for services.

use coreloop_access::Caller;
use coreloop_scan_api::v1::{self, ScanReason};
use tonic::{Request, Response};
use uuid::Uuid;

use super::tasks::proto_task;
use crate::{
    App, Error,
    finishing::image_of,
    jobs::{self, Job},
    store::tasks::{by_id, of_image},
    times::proto_time,
};

/// `PullJobs`.
///
/// # Errors
/// When no photo can be asked for.
pub async fn pull_jobs(
    app: &App,
    request: Request<v1::PullJobsRequest>,
) -> Result<Response<v1::PullJobsResponse>, Error> {
    let worker = Caller::of(&request)?.require_machine()?.service.clone();
    let asked = request.get_ref();
    let (jobs, until) = jobs::pull(app, asked.max, asked.lease_secs).await?;
    tracing::info!(%worker, jobs = jobs.len(), "a worker has jobs");
    let leased_until = Some(proto_time(until));
    let job = |Job { task, object_key, get_url, cdn_url }| v1::Job {
        task_id: task.id.to_string(),
        image_id: image_of(&task),
        user_id: task.user_id.to_string(),
        object_key,
        get_url,
        cdn_url,
        waste_hint: task.user_input,
        leased_until,
    };
    Ok(Response::new(v1::PullJobsResponse { jobs: jobs.into_iter().map(job).collect() }))
}

/// `SubmitAiResult`: each by itself.
///
/// # Errors
/// When the database fails; those before count.
pub async fn submit_ai_result(
    app: &App,
    request: Request<v1::SubmitAiResultRequest>,
) -> Result<Response<v1::SubmitAiResultResponse>, Error> {
    let worker = Caller::of(&request)?.require_machine()?.service.clone();
    let mut judgements = Vec::new();
    for result in request.into_inner().results {
        let task_id = result.task_id.clone();
        let judgement = jobs::submit(app, result).await?;
        tracing::info!(%worker, task_id, judgement = judgement.as_str_name(), "a worker says what a photo shows");
        judgements.push(v1::AiResultJudgement { task_id, judgement: judgement.into() });
    }
    Ok(Response::new(v1::SubmitAiResultResponse { judgements }))
}

/// `FindByImage`.
///
/// # Errors
/// `TASK_NOT_FOUND`.
pub async fn find_by_image(
    app: &App,
    request: Request<v1::FindByImageRequest>,
) -> Result<Response<v1::FindByImageResponse>, Error> {
    let image_id = &request.get_ref().image_id;
    let image: Uuid = image_id.parse().map_err(|_| Error::invalid("image_id", "must be a UUID"))?;
    let id = of_image(&app.db, image).await?.ok_or(ScanReason::TaskNotFound)?;
    let task = by_id(&app.db, id).await?.ok_or(ScanReason::TaskNotFound)?;
    Ok(Response::new(v1::FindByImageResponse { user_id: task.user_id.to_string(), task: Some(proto_task(task)) }))
}
