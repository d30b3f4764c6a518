//! `ListDeadLetters`, `InspectDeadLetter`, `ReprocessDeadLetters`, `DiscardDeadLetters`: asked of the service whose letters
//! they are, with the administrator's own token.

use coreloop_access::Caller;
use coreloop_core::{Problem, Reason, page};
use coreloop_ops_api::{
    host::refused,
    v1::{
        self, DeadLetter, DeadLetterFilter, DropDeadLettersRequest, FindDeadLettersRequest, OpsReason,
        RetryDeadLettersRequest,
    },
};
use serde_json::json;
use tonic::{Extensions, Request, Response, metadata::MetadataMap};

use crate::{App, Error};

/// Name of the list in its page tokens.
const LETTERS: &str = "ops.dead_letters";

/// Who asks, and the token that says so.
struct Asker {
    actor: String,
    metadata: MetadataMap,
}

impl Asker {
    fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        let actor = Caller::of(request)?.require_user()?.user_id.to_string();
        let mut metadata = MetadataMap::new();
        if let Some(token) = request.metadata().get("authorization") {
            metadata.insert("authorization", token.clone());
        }
        Ok(Self { actor, metadata })
    }

    fn asks<T>(&self, message: T) -> Request<T> {
        Request::from_parts(self.metadata.clone(), Extensions::default(), message)
    }
}

/// The letters, and the place to go on from when there are more.
async fn find(app: &App, asker: &Asker, filter: DeadLetterFilter) -> Result<(Vec<DeadLetter>, i64), Error> {
    let mut letters = app.letters_of(&filter.queue)?;
    let found = letters.find_dead_letters(asker.asks(FindDeadLettersRequest { filter: Some(filter) })).await?;
    let found = found.into_inner();
    Ok((found.dead_letters, found.next))
}

/// Lists the dead letters of a queue.
///
/// # Errors
/// `QUEUE_UNKNOWN`, `PAGE_TOKEN_INVALID`.
pub async fn list_dead_letters(
    app: &App,
    request: Request<v1::ListDeadLettersRequest>,
) -> Result<Response<v1::ListDeadLettersResponse>, Error> {
    let asker = Asker::of(&request)?;
    let asked = request.into_inner();
    let count = u32::try_from(page::size(asked.page_size)).unwrap_or_default();
    // The token belongs to the list of that queue and reason.
    let list = (asked.queue, asked.filter_reason);
    let cursor: Option<((String, String), i64)> = page::decode(LETTERS, &asked.page_token)?;
    if cursor.as_ref().is_some_and(|(of, _)| *of != list) {
        return Err(Problem::common(Reason::PageTokenInvalid, "the page token is of another list").into());
    }
    let after = cursor.map(|(_, after)| after).unwrap_or_default();
    let filter = DeadLetterFilter { queue: list.0.clone(), count, reason: list.1.clone(), id: String::new(), after };
    let detail = json!({ "count": count, "reason": filter.reason, "after": after });
    let act = (asker.actor.clone(), "ops.dead_letters.list", list.0.as_str());
    let work = find(app, &asker, filter);
    let (dead_letters, next) =
        app.book().audited(act, detail, work, |(found, _)| json!({ "count": found.len() })).await?;
    let next_page_token = if next > 0 { page::encode(LETTERS, &(&list, next)) } else { String::new() };
    Ok(Response::new(v1::ListDeadLettersResponse { dead_letters, next_page_token }))
}

/// Answers one dead letter, with what it says.
///
/// # Errors
/// `QUEUE_UNKNOWN`, `DEAD_LETTER_NOT_FOUND`.
pub async fn inspect_dead_letter(
    app: &App,
    request: Request<v1::InspectDeadLetterRequest>,
) -> Result<Response<v1::InspectDeadLetterResponse>, Error> {
    let asker = Asker::of(&request)?;
    let asked = request.into_inner();
    let filter = DeadLetterFilter {
        queue: asked.queue.clone(),
        count: 1,
        reason: String::new(),
        id: asked.id.clone(),
        after: 0,
    };
    let act = (asker.actor.clone(), "ops.dead_letters.inspect", asked.queue.as_str());
    let work = async {
        let found = find(app, &asker, filter).await?.0.pop();
        found.ok_or_else(|| refused(OpsReason::DeadLetterNotFound, "there is no such dead letter").into())
    };
    let dead_letter = app.book().audited(act, json!({ "id": asked.id }), work, |_| json!({})).await?;
    Ok(Response::new(v1::InspectDeadLetterResponse { dead_letter: Some(dead_letter) }))
}

/// Has dead letters tried again.
///
/// # Errors
/// `QUEUE_UNKNOWN`.
pub async fn reprocess_dead_letters(
    app: &App,
    request: Request<v1::ReprocessDeadLettersRequest>,
) -> Result<Response<v1::ReprocessDeadLettersResponse>, Error> {
    let asker = Asker::of(&request)?;
    let v1::ReprocessDeadLettersRequest { queue, count, filter_reason: reason, id } = request.into_inner();
    let detail = json!({ "count": count, "reason": reason, "id": id });
    let act = (asker.actor.clone(), "ops.dead_letters.reprocess", queue.as_str());
    let filter = DeadLetterFilter { queue: queue.clone(), count, reason, id, after: 0 };
    let work = async {
        let mut letters = app.letters_of(&filter.queue)?;
        let retried = letters.retry_dead_letters(asker.asks(RetryDeadLettersRequest { filter: Some(filter) })).await?;
        Ok(retried.into_inner().retried)
    };
    let reprocessed = app.book().audited(act, detail, work, |count| json!({ "count": count })).await?;
    Ok(Response::new(v1::ReprocessDeadLettersResponse { reprocessed }))
}

/// Deletes dead letters.
///
/// # Errors
/// `QUEUE_UNKNOWN`.
pub async fn discard_dead_letters(
    app: &App,
    request: Request<v1::DiscardDeadLettersRequest>,
) -> Result<Response<v1::DiscardDeadLettersResponse>, Error> {
    let asker = Asker::of(&request)?;
    let v1::DiscardDeadLettersRequest { queue, count, filter_reason: reason, id } = request.into_inner();
    let detail = json!({ "count": count, "reason": reason, "id": id });
    let act = (asker.actor.clone(), "ops.dead_letters.discard", queue.as_str());
    let filter = DeadLetterFilter { queue: queue.clone(), count, reason, id, after: 0 };
    let work = async {
        let mut letters = app.letters_of(&filter.queue)?;
        let dropped = letters.drop_dead_letters(asker.asks(DropDeadLettersRequest { filter: Some(filter) })).await?;
        Ok(dropped.into_inner().dropped)
    };
    let discarded = app.book().audited(act, detail, work, |count| json!({ "count": count })).await?;
    Ok(Response::new(v1::DiscardDeadLettersResponse { discarded }))
}
