//! `ListHistory`: of the caller, and of nobody else.

use coreloop_access::Caller;
use coreloop_character_api::v1::{self, HistoryKind};
use coreloop_core::page;
use coreloop_eventstore::Recorded;
use tonic::{Request, Response};

use crate::{
    App, Error,
    collection::{Collection, Happened},
    store::collections,
    times::proto_time,
};

/// Name of the list in its page tokens.
const HISTORY: &str = "character.history";

/// `ListHistory`. Numbers are dense, so a page from the end is a page of numbers.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_history(
    app: &App,
    request: Request<v1::ListHistoryRequest>,
) -> Result<Response<v1::ListHistoryResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let asked = request.get_ref();
    let size = page::size(asked.page_size);
    let from: Option<i64> = page::decode(HISTORY, &asked.page_token)?;
    let newest = match from {
        Some(from) => from.max(0),
        None => collections::now(&app.db, user).await?.map_or(0, |(version, _)| version),
    };
    let after = newest.saturating_sub(size).max(0);
    let mut connection = app.db.acquire().await?;
    let page = app.history.history::<Collection>(&mut connection, user, after, newest - after).await?;
    Ok(Response::new(v1::ListHistoryResponse {
        entries: page.into_iter().rev().filter_map(proto_entry).collect(),
        next_page_token: if after > 0 { page::encode(HISTORY, &after) } else { String::new() },
    }))
}

fn proto_entry(recorded: Recorded<Happened>) -> Option<v1::HistoryEntry> {
    let (kind, code, level, cause) = match recorded.event {
        Happened::Acquired(fact) => (HistoryKind::Acquired, fact.code, 1, fact.source),
        Happened::Lost(fact) => (HistoryKind::Lost, fact.code, 0, fact.cause),
        Happened::Evolved(fact) => (HistoryKind::Evolved, fact.code, fact.level, String::new()),
        Happened::Closed(_) => return None,
    };
    Some(v1::HistoryEntry {
        sequence: recorded.sequence,
        kind: kind.into(),
        code,
        level,
        cause,
        occurred_at: Some(proto_time(recorded.at)),
    })
}
