//! Recomputes what must hold of collections (M9): a replay of its history is what each snapshot says, and what the tables say.

use std::collections::BTreeMap;

use coreloop_eventstore::EventStore;
use coreloop_ops_api::integrity::{Finding, MOST, Report};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Error,
    collection::{Collection, Piece},
    store::integrity::{self as store, Stated},
};

/// Collections of one statement.
const PAGE: i64 = 250;

/// Looks at every collection.
///
/// # Errors
/// When the database fails.
pub async fn verify(db: &PgPool) -> Result<Report, Error> {
    let history = EventStore::new("character")?;
    let (mut after, mut collections, mut findings) = (Uuid::nil(), 0, Vec::new());
    while findings.len() < MOST {
        let page = store::page(db, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.user_id;
        for stated in page {
            collections += 1;
            findings.extend(look(db, &history, stated).await?);
        }
    }
    for finding in &findings {
        tracing::error!(
            what = finding.what,
            subject = finding.subject,
            detail = finding.detail,
            "a collection does not fit"
        );
    }
    Ok(Report { counts: vec![("collections", collections)], findings })
}

async fn look(db: &PgPool, history: &EventStore, stated: Stated) -> Result<Option<Finding>, Error> {
    let mut connection = db.acquire().await?;
    let user = stated.user_id;
    let finding = |what: &str, detail: String| Finding { what: what.to_owned(), subject: user.to_string(), detail };
    let loaded = match history.verify::<Collection>(&mut connection, user).await {
        Ok(loaded) => loaded,
        Err(coreloop_eventstore::Error::Db(error)) => return Err(error.into()),
        Err(error) => return Ok(Some(finding("history", error.to_string()))),
    };
    // Somebody changed it since the page was read: it is looked at the next time.
    if loaded.version() > stated.version {
        return Ok(None);
    }
    let state = loaded.state();
    let fits = loaded.version() == stated.version
        && state.closed == stated.closed
        && i32::try_from(state.owned.len()) == Ok(stated.owned)
        && pieces(&stated.pieces).as_ref() == Some(&state.owned);
    let detail = format!("its history has {} owned at version {}", state.owned.len(), loaded.version());
    Ok((!fits).then(|| finding("collection", detail)))
}

fn pieces(value: &Value) -> Option<BTreeMap<String, Piece>> {
    serde_json::from_value(value.clone()).ok()
}
