//! `StartIntegrityCheck`, `ListRuns`, `GetRun`.

use coreloop_core::{Problem, Reason, page};
use coreloop_ops_api::{
    host::{proto_time, refused},
    v1::{self, OpsReason, RunState},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tonic::{Request, Response};
use uuid::Uuid;

use super::{actor, paged, stated};
use crate::{
    App, Error, checks,
    runs::{self, INTEGRITY},
    store::runs::{self as store, Row},
};

/// Name of the list in its page tokens.
const RUNS: &str = "ops.runs";

/// Asks for checks; they are done by whichever replica holds the lease.
///
/// # Errors
/// `CHECK_UNKNOWN`.
pub async fn start_integrity_check(
    app: &App,
    request: Request<v1::StartIntegrityCheckRequest>,
) -> Result<Response<v1::StartIntegrityCheckResponse>, Error> {
    let actor = actor(&request)?;
    let asked = request.into_inner().checks;
    let act = (actor.clone(), "ops.integrity.start", "");
    let work = async {
        let (known, unreachable) = checks::all(app).await;
        // A service that cannot be asked now may have the check: its run will tell.
        let may_be = |check: &str| unreachable.iter().any(|service| check.split('.').next() == Some(service));
        if asked.iter().any(|check| !known.contains(check) && !may_be(check)) {
            return Err(refused(OpsReason::CheckUnknown, "no service of this mesh can recompute that").into());
        }
        let wanted = if asked.is_empty() { &known } else { &asked };
        Ok((runs::ask(app, INTEGRITY, wanted, &actor).await?, unreachable))
    };
    let told = |(runs, _): &(Vec<Row>, Vec<String>)| runs.iter().map(|run| json!(run.id)).collect::<Value>();
    let (runs, unreachable) = app.book().audited(act, json!({ "checks": asked }), work, told).await?;
    Ok(Response::new(v1::StartIntegrityCheckResponse { runs: runs.into_iter().map(proto_run).collect(), unreachable }))
}

/// Where a page of runs goes on: of which job and subject, and behind which run.
type Cursor = ((Option<String>, Option<String>), Timestamp, Uuid);

/// Lists runs, the newest first.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_runs(
    app: &App,
    request: Request<v1::ListRunsRequest>,
) -> Result<Response<v1::ListRunsResponse>, Error> {
    let actor = actor(&request)?;
    let asked = request.into_inner();
    let of = (stated(&asked.job), stated(&asked.subject));
    let cursor: Option<Cursor> = page::decode(RUNS, &asked.page_token)?;
    if cursor.as_ref().is_some_and(|(list, ..)| *list != of) {
        return Err(Problem::common(Reason::PageTokenInvalid, "the page token is of another list").into());
    }
    let size = page::size(asked.page_size);
    let before = cursor.map(|(_, at, id)| (at, id));
    let act = (actor, "ops.runs.list", of.1.as_deref().unwrap_or_default());
    let work = async { Ok(store::page(&app.db, (of.0.as_deref(), of.1.as_deref()), before, size + 1).await?) };
    let found = app.book().audited(act, json!({ "job": of.0 }), work, |found| json!({ "count": found.len() })).await?;
    let (rows, more) = paged(found, size);
    let next = rows.last().filter(|_| more).map(|run| page::encode(RUNS, &(&of, run.asked_at.to_jiff(), run.id)));
    Ok(Response::new(v1::ListRunsResponse {
        runs: rows.into_iter().map(proto_run).collect(),
        next_page_token: next.unwrap_or_default(),
    }))
}

/// Answers one run.
///
/// # Errors
/// `RUN_NOT_FOUND`.
pub async fn get_run(app: &App, request: Request<v1::GetRunRequest>) -> Result<Response<v1::GetRunResponse>, Error> {
    let actor = actor(&request)?;
    let asked = request.into_inner().run_id;
    let act = (actor, "ops.runs.get", asked.as_str());
    let work = async {
        // Validation has seen to it that it is an id.
        let found = store::find(&app.db, asked.parse().unwrap_or_default()).await?;
        found.ok_or_else(|| refused(OpsReason::RunNotFound, "there is no such run").into())
    };
    let run = app.book().audited(act, json!({}), work, |_| json!({})).await?;
    Ok(Response::new(v1::GetRunResponse { run: Some(proto_run(run)) }))
}

/// A run, as administrators are shown it.
#[must_use]
pub fn proto_run(run: Row) -> v1::Run {
    let state = match run.state.as_str() {
        "asked" => RunState::Asked,
        "running" => RunState::Running,
        "done" => RunState::Done,
        _ => RunState::Failed,
    };
    let time = |at: Option<jiff_sqlx::Timestamp>| at.map(|at| proto_time(at.to_jiff()));
    v1::Run {
        id: run.id.to_string(),
        job: run.job,
        subject: run.subject,
        state: state.into(),
        asked_by: run.asked_by,
        asked_at: time(Some(run.asked_at)),
        started_at: time(run.started_at),
        ended_at: time(run.ended_at),
        attempts: run.attempts,
        sound: run.sound == Some(true),
        counts: list(&run.counts, |count| v1::Count {
            name: text(count, "name"),
            value: count.get("value").and_then(Value::as_i64).unwrap_or_default(),
        }),
        findings: list(&run.findings, |finding| v1::IntegrityFinding {
            what: text(finding, "what"),
            subject: text(finding, "subject"),
            detail: text(finding, "detail"),
        }),
        error: run.error,
    }
}

fn list<T>(values: &Value, one: impl FnMut(&Value) -> T) -> Vec<T> {
    values.as_array().map(|all| all.iter().map(one).collect()).unwrap_or_default()
}

fn text(of: &Value, field: &str) -> String {
    of.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}
