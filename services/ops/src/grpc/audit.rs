//! `SearchAudit`.

use coreloop_core::{Problem, Reason, Violation, page};
use coreloop_ops_api::{host::proto_time, v1};
use jiff::Timestamp;
use serde_json::json;
use tonic::{Request, Response};

use super::{actor, paged, stated};
use crate::{
    App, Error,
    store::audits::{self, Row, Wanted},
};

/// Name of the list in its page tokens.
const AUDIT: &str = "ops.audit";

/// Searches the audit, the newest first. The search itself is in it, after what it finds.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn search_audit(
    app: &App,
    request: Request<v1::SearchAuditRequest>,
) -> Result<Response<v1::SearchAuditResponse>, Error> {
    let actor = actor(&request)?;
    let asked = request.into_inner();
    let wanted = wanted(&asked)?;
    // The token belongs to the list of that search.
    let search = format!("{wanted:?}");
    let cursor: Option<(String, i64)> = page::decode(AUDIT, &asked.page_token)?;
    if cursor.as_ref().is_some_and(|(of, _)| *of != search) {
        return Err(Problem::common(Reason::PageTokenInvalid, "the page token is of another search").into());
    }
    let size = page::size(asked.page_size);
    // What is looked for ends where the audit ended when it was asked for.
    let before = match cursor {
        Some((_, before)) => before,
        None => audits::head(&app.db).await?.0.saturating_add(1),
    };
    let detail = json!({
        "actor": asked.actor, "action": asked.action, "subject": asked.subject, "step": asked.step,
        "act": asked.act_id, "request": asked.request_id,
        "from": wanted.from, "until": wanted.until,
    });
    let work = async { Ok(audits::search(&app.db, &wanted, Some(before), size + 1).await?) };
    let act = (actor, "ops.audit.search", "");
    let found = app.book().audited(act, detail, work, |found| json!({ "count": found.len() })).await?;
    let (rows, more) = paged(found, size);
    let next = rows.last().filter(|_| more).map(|row| page::encode(AUDIT, &(&search, row.seq)));
    Ok(Response::new(v1::SearchAuditResponse {
        rows: rows.into_iter().map(proto_row).collect(),
        next_page_token: next.unwrap_or_default(),
    }))
}

fn wanted(asked: &v1::SearchAuditRequest) -> Result<Wanted, Error> {
    let mut wrong = Vec::new();
    let mut time = |field: &str, at: Option<prost_types::Timestamp>| {
        let read = at.map(|at| Timestamp::new(at.seconds, at.nanos));
        if read.as_ref().is_some_and(Result::is_err) {
            wrong.push(Violation { field: field.to_owned(), description: "must be a time".to_owned() });
        }
        read.and_then(Result::ok)
    };
    let (from, until) = (time("from", asked.from), time("until", asked.until));
    if !wrong.is_empty() {
        return Err(Problem::invalid(wrong).into());
    }
    Ok(Wanted {
        actor: stated(&asked.actor),
        action: stated(&asked.action),
        subject: stated(&asked.subject),
        step: stated(&asked.step),
        // Validation has seen to it that it is one.
        act: stated(&asked.act_id).map(|id| id.parse().unwrap_or_default()),
        request_id: stated(&asked.request_id),
        from,
        until,
    })
}

fn proto_row(row: Row) -> v1::AuditRow {
    v1::AuditRow {
        sequence: row.seq,
        act_id: row.act.to_string(),
        step: row.step,
        actor: row.actor,
        action: row.action,
        subject: row.subject,
        detail: row.detail,
        request_id: row.request_id,
        trace_id: row.trace_id,
        created_at: Some(proto_time(row.created_at.to_jiff())),
        hash: hex::encode(row.hash),
    }
}
