//! Jobs of the mesh: asked for by somebody or by the clock, done by one process at a time, kept with what came of them.
//!
//! Who asks writes a row. A process that holds the lease takes the rows one after the other; what it was at when it died is
//! begun again by the next, a few times. Each beginning has a number that only its own end may name, so a process that was
//! thought dead and was only cut off changes nothing any more.

use coreloop_core::Problem;
use coreloop_db::lease::Lease;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    App, Error,
    checks::{self, Answer},
    integrity::{self, Seen},
    store::{
        audits,
        runs::{self, Ended, Row},
    },
};

/// The job that recomputes what must hold; its subjects are the checks that services have.
pub const INTEGRITY: &str = "integrity";

/// Who asks when nobody does.
pub const SCHEDULE: &str = "schedule";

/// How often a run is begun.
const MOST: i32 = 3;

/// A run that the clock asked for and that came to nothing is asked for again after this: what was away for a moment is not unknown
/// until tomorrow.
const AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// Name of the lease.
const LEASE: &str = "ops.runs";

/// Does what waits, unless another process is at it; answers how many runs it ended.
///
/// # Errors
/// What Postgres says.
pub async fn work(app: &App) -> Result<u64, Error> {
    if !runs::open(&app.db).await? {
        return Ok(0);
    }
    let Some(mut lease) = Lease::try_take(&app.db, LEASE).await? else { return Ok(0) };
    let done = work_under(app, &mut lease).await;
    lease.give_up().await;
    done
}

async fn work_under(app: &App, lease: &mut Lease) -> Result<u64, Error> {
    let orphans = runs::orphaned(lease.connection(), MOST, app.clock.now()).await?;
    if orphans > 0 {
        tracing::warn!(orphans, "runs whose process died are begun again");
    }
    let mut ended = 0;
    for run in runs::asked(lease.connection()).await? {
        // What is written here is written while the lease is held, or not at all.
        let Some(attempt) = runs::start(lease.connection(), run.id, app.clock.now()).await? else { continue };
        let outcome = outcome(app, &run).await;
        note(app, &run, &outcome);
        let kept = runs::end(lease.connection(), (run.id, attempt), &outcome, app.clock.now()).await?;
        ended += u64::from(kept);
    }
    Ok(ended)
}

/// What a run comes to.
async fn outcome(app: &App, run: &Row) -> Ended {
    let (done, mark) = match (run.job.as_str(), run.subject.as_str()) {
        (INTEGRITY, checks::AUDIT) => audit(app).await,
        (INTEGRITY, check) => (checks::run(app, check).await, None),
        _ => (Err(Problem::internal("no such job").into()), None),
    };
    match done {
        Ok(Answer { sound, counts, findings }) => Ended {
            sound: Some(sound),
            counts: of_counts(&counts),
            findings: of_findings(&findings),
            error: String::new(),
            mark,
        },
        Err(error) => {
            Ended { sound: None, counts: json!([]), findings: json!([]), error: format!("{error}"), mark: None }
        }
    }
}

/// The audit of ops itself; where it is sound, the end of what was looked at is noted beside it.
async fn audit(app: &App) -> (Result<Answer, Error>, Option<audits::Mark>) {
    match integrity::verify(&app.db).await {
        Ok(Seen { report, mark }) => {
            let answer = Answer::from(report);
            let mark = answer.sound.then_some(mark);
            (Ok(answer), mark)
        }
        Err(error) => (Err(error.into()), None),
    }
}

fn note(app: &App, run: &Row, ended: &Ended) {
    let Row { job, subject, .. } = run;
    let outcome = match ended.sound {
        Some(true) => "sound",
        Some(false) => "unsound",
        None => "failed",
    };
    app.metrics.ran(job, subject, outcome);
    match ended.sound {
        Some(true) => tracing::info!(job, subject, "run ended"),
        Some(false) => tracing::error!(job, subject, findings = %ended.findings, "something that must hold does not"),
        None => tracing::error!(job, subject, error = ended.error, "run failed"),
    }
}

fn of_counts(counts: &[coreloop_ops_api::v1::Count]) -> Value {
    counts.iter().map(|count| json!({ "name": count.name, "value": count.value })).collect()
}

fn of_findings(findings: &[coreloop_ops_api::v1::IntegrityFinding]) -> Value {
    let one = |f: &coreloop_ops_api::v1::IntegrityFinding| json!({ "what": f.what, "subject": f.subject, "detail": f.detail });
    findings.iter().map(one).collect()
}

/// Asks for a run on each subject; answers those that now wait or run.
///
/// # Errors
/// What Postgres says.
pub async fn ask(app: &App, job: &str, subjects: &[String], by: &str) -> Result<Vec<Row>, Error> {
    for subject in subjects {
        runs::ask(&app.db, app.ids.uuid(), (job, subject), by, app.clock.now()).await?;
    }
    app.asked.notify_one();
    Ok(runs::newest(&app.db, job, subjects).await?)
}

/// Whether a check is to be run, of which this is the newest run.
fn is_due(newest: &Row, now: Timestamp, period: SignedDuration) -> bool {
    let failed_at = newest.ended_at.filter(|_| newest.state == "failed").map(jiff_sqlx::Timestamp::to_jiff);
    now.duration_since(newest.asked_at.to_jiff()) >= period
        || failed_at.is_some_and(|failed_at| now.duration_since(failed_at) >= AGAIN)
}

/// Asks for those of the checks that nobody has asked for in the last period, or that failed some minutes ago.
///
/// # Errors
/// What Postgres says.
pub async fn ask_for_due(app: &App, checks: &[String]) -> Result<(), Error> {
    let period = SignedDuration::from_secs(app.options.integrity_secs.into());
    if period.is_zero() {
        return Ok(());
    }
    let now = app.clock.now();
    let known = runs::newest(&app.db, INTEGRITY, checks).await?;
    let due = |check: &&String| {
        known.iter().find(|run| run.subject == **check).is_none_or(|newest| is_due(newest, now, period))
    };
    let due: Vec<String> = checks.iter().filter(due).cloned().collect();
    if !due.is_empty() {
        ask(app, INTEGRITY, &due, SCHEDULE).await?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use jiff_sqlx::ToSqlx as _;

    use super::*;

    #[test]
    fn a_check_is_due_a_period_after_it_was_asked_for_and_ten_minutes_after_it_failed() {
        let day = SignedDuration::from_hours(24);
        let after = |state: &str, minutes: i64| {
            let asked_at = Timestamp::from_second(1_000_000).unwrap();
            let ended_at = (state != "running").then(|| asked_at + SignedDuration::from_mins(1));
            let newest = Row {
                id: uuid::Uuid::nil(),
                job: INTEGRITY.to_owned(),
                subject: "wallet.ledger".to_owned(),
                state: state.to_owned(),
                asked_by: SCHEDULE.to_owned(),
                asked_at: asked_at.to_sqlx(),
                started_at: None,
                ended_at: ended_at.map(|at| at.to_sqlx()),
                attempts: 1,
                sound: None,
                counts: json!([]),
                findings: json!([]),
                error: String::new(),
            };
            is_due(&newest, asked_at + SignedDuration::from_mins(minutes), day)
        };
        assert_eq!(["done", "failed", "running"].map(|state| after(state, 10)), [false; 3]);
        assert_eq!(["done", "failed", "running"].map(|state| after(state, 11)), [false, true, false]);
        assert_eq!(["done", "failed", "running"].map(|state| after(state, 24 * 60)), [true; 3]);
    }
}
