//! Recomputes what must hold of images (M9): what a row says is what its history comes to.

use coreloop_eventstore::EventStore;
use coreloop_ops_api::integrity::{Finding, MOST, Report};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Error,
    history::Photo,
    store::integrity::{self as store, Stated},
};

/// Images of one statement.
const PAGE: i64 = 250;

/// Looks at every image that is kept.
///
/// # Errors
/// When the database fails.
pub async fn verify(db: &PgPool) -> Result<Report, Error> {
    let history = EventStore::new("image")?;
    let (mut after, mut images, mut findings) = (Uuid::nil(), 0, Vec::new());
    while findings.len() < MOST {
        let page = store::page(db, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for stated in page {
            images += 1;
            findings.extend(look(db, &history, &stated).await?);
        }
    }
    for finding in &findings {
        tracing::error!(
            what = finding.what,
            subject = finding.subject,
            detail = finding.detail,
            "an image does not fit"
        );
    }
    Ok(Report { counts: vec![("images", images)], findings })
}

async fn look(db: &PgPool, history: &EventStore, stated: &Stated) -> Result<Option<Finding>, Error> {
    let mut connection = db.acquire().await?;
    let finding =
        |what: &str, detail: String| Finding { what: what.to_owned(), subject: stated.id.to_string(), detail };
    let loaded = match history.verify::<Photo>(&mut connection, stated.id).await {
        Ok(loaded) => loaded,
        Err(coreloop_eventstore::Error::Db(error)) => return Err(error.into()),
        Err(error) => return Ok(Some(finding("history", error.to_string()))),
    };
    let state = loaded.state();
    let there = match (state.there, stated.there) {
        // It may have been removed since the page was read, which is one with its history: then the row says so by now.
        (false, true) => store::is_there(&mut *connection, stated.id).await?,
        (_, there) => there,
    };
    let fits = state.there == there && state.object_key == stated.object_key;
    let detail = format!("its history of {} events has it there {}", loaded.version(), state.there);
    Ok((!fits).then(|| finding("image", detail)))
}
