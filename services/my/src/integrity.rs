//! Recomputes what must hold of users: a replay of the history is what the tables say.

use coreloop_eventstore::EventStore;
use coreloop_ops_api::integrity::{Finding, MOST, Report};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Error,
    person::Person,
    store::integrity::{self as store, Stated},
};

/// Users of one statement.
const PAGE: i64 = 250;

/// Looks at every user.
///
/// # Errors
/// When the database fails.
pub async fn verify(db: &PgPool) -> Result<Report, Error> {
    let history = EventStore::new("my")?;
    let (mut after, mut people, mut findings) = (Uuid::nil(), 0, Vec::new());
    while findings.len() < MOST {
        let page = store::page(db, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.user_id;
        for stated in page {
            people += 1;
            findings.extend(look(db, &history, stated).await?);
        }
    }
    for finding in &findings {
        tracing::error!(what = finding.what, subject = finding.subject, detail = finding.detail, "a user does not fit");
    }
    Ok(Report { counts: vec![("people", people)], findings })
}

async fn look(db: &PgPool, history: &EventStore, stated: Stated) -> Result<Option<Finding>, Error> {
    let mut connection = db.acquire().await?;
    let user = stated.user_id;
    let finding = |what: &str, detail: String| Finding { what: what.to_owned(), subject: user.to_string(), detail };
    let replayed = match history.verify::<Person>(&mut connection, user).await {
        Ok(replayed) => replayed,
        Err(coreloop_eventstore::Error::Db(error)) => return Err(error.into()),
        Err(error) => return Ok(Some(finding("history", error.to_string()))),
    };
    // Somebody changed it since the page was read: it is looked at the next time.
    if replayed.version() > stated.version {
        return Ok(None);
    }
    let said = serde_json::from_value::<Person>(stated.person).ok();
    let fits = replayed.version() == stated.version && said.as_ref() == Some(replayed.state());
    let total = replayed.state().total;
    let detail =
        format!("its history has {} scans, {} recycled at version {}", total.scans, total.recycled, replayed.version());
    Ok((!fits).then(|| finding("person", detail)))
}
