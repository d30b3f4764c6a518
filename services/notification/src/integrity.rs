//! Recomputes what must hold of the inbox (M9): what a row says is what its history comes to.

use coreloop_eventstore::EventStore;
use coreloop_ops_api::integrity::{Finding, MOST, Report};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Error,
    history::Note,
    store::integrity::{self as store, Stated},
};

/// Notifications of one statement.
const PAGE: i64 = 250;

/// Looks at every notification that is kept.
///
/// # Errors
/// When the database fails.
pub async fn verify(db: &PgPool) -> Result<Report, Error> {
    let history = EventStore::new("notification")?;
    let (mut after, mut notifications, mut findings) = (Uuid::nil(), 0, Vec::new());
    while findings.len() < MOST {
        let page = store::page(db, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for stated in page {
            notifications += 1;
            findings.extend(look(db, &history, &stated).await?);
        }
    }
    for finding in &findings {
        tracing::error!(
            what = finding.what,
            subject = finding.subject,
            detail = finding.detail,
            "a notification does not fit"
        );
    }
    Ok(Report { counts: vec![("notifications", notifications)], findings })
}

async fn look(db: &PgPool, history: &EventStore, stated: &Stated) -> Result<Option<Finding>, Error> {
    let mut connection = db.acquire().await?;
    let finding =
        |what: &str, detail: String| Finding { what: what.to_owned(), subject: stated.id.to_string(), detail };
    let loaded = match history.verify::<Note>(&mut connection, stated.id).await {
        Ok(loaded) => loaded,
        Err(coreloop_eventstore::Error::Db(error)) => return Err(error.into()),
        Err(error) => return Ok(Some(finding("history", error.to_string()))),
    };
    let state = loaded.state();
    // It may have been read since the page was: that is no fault.
    let fits = state.kind == i32::from(stated.kind) && (state.is_read || !stated.is_read);
    let detail = format!("its history has kind {}, read {}", state.kind, state.is_read);
    Ok((!fits).then(|| finding("notification", detail)))
}
