//! Recomputes what must hold of tasks (M9): what a row says is what its history comes to, and what is counted is what there is.

use coreloop_eventstore::EventStore;
use coreloop_ops_api::integrity::{Finding, MOST, Report};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Error,
    history::Scan,
    store::integrity::{self as store, Stated},
};

/// Tasks, or users, of one statement.
const PAGE: i64 = 250;

/// Looks at every task, and at every count.
///
/// # Errors
/// When the database fails.
pub async fn verify(db: &PgPool) -> Result<Report, Error> {
    let mut findings = Vec::new();
    let tasks = histories(db, &mut findings).await?;
    let people = counts(db, &mut findings).await?;
    findings.truncate(MOST);
    for finding in &findings {
        tracing::error!(what = finding.what, subject = finding.subject, detail = finding.detail, "a task does not fit");
    }
    Ok(Report { counts: vec![("tasks", tasks), ("people", people)], findings })
}

/// How many tasks were looked at.
async fn histories(db: &PgPool, findings: &mut Vec<Finding>) -> Result<i64, Error> {
    let history = EventStore::new("scan")?;
    let (mut after, mut tasks) = (Uuid::nil(), 0);
    while findings.len() < MOST {
        let page = store::page(db, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for stated in page {
            tasks += 1;
            findings.extend(look(db, &history, stated).await?);
        }
    }
    Ok(tasks)
}

async fn look(db: &PgPool, history: &EventStore, mut stated: Stated) -> Result<Option<Finding>, Error> {
    let (mut connection, id) = (db.acquire().await?, stated.id);
    let finding = |what: &str, detail: String| Finding { what: what.to_owned(), subject: id.to_string(), detail };
    let loaded = match history.verify::<Scan>(&mut connection, id).await {
        Ok(loaded) => loaded,
        Err(coreloop_eventstore::Error::Db(error)) => return Err(error.into()),
        Err(error) => return Ok(Some(finding("history", error.to_string()))),
    };
    // It may have gone on since the page was read, or be gone: it is one with its history, and says so by now.
    if loaded.version() > stated.version {
        match store::find(&mut *connection, id).await? {
            Some(by_now) if by_now.version <= loaded.version() => stated = by_now,
            _ => return Ok(None),
        }
    }
    let said = Scan { category: stated.category.into(), eligible: stated.eligible, reason: stated.reason };
    let (state, version) = (loaded.state(), loaded.version());
    let fits = version == stated.version && *state == said;
    let detail = format!(
        "its history of {version} events has category {}, eligible {}, reason {:?}",
        state.category, state.eligible, state.reason
    );
    Ok((!fits).then(|| finding("task", detail)))
}

/// How many users were looked at.
async fn counts(db: &PgPool, findings: &mut Vec<Finding>) -> Result<i64, Error> {
    let (mut after, mut people) = (Uuid::nil(), 0);
    while findings.len() < MOST {
        let page = store::users(db, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = *last;
        people += i64::try_from(page.len()).unwrap_or_default();
        findings.extend(store::uneven(db, &page).await?.into_iter().map(|uneven| Finding {
            what: "count".to_owned(),
            subject: uneven.user_id.to_string(),
            detail: format!("{}: there are {}, counted are {}", uneven.what, uneven.there, uneven.counted),
        }));
    }
    Ok(people)
}
