//! `ListOwed`.

use coreloop_access::Caller;
use coreloop_core::page;
use coreloop_shop_api::v1;
use jiff::Timestamp;
use tonic::{Request, Response};
use uuid::Uuid;

use crate::{App, Error, store::purchases};

/// Name of the list in its page tokens.
const OWED: &str = "shop.owed";

/// `ListOwed`.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_owed(
    app: &App,
    request: Request<v1::ListOwedRequest>,
) -> Result<Response<v1::ListOwedResponse>, Error> {
    Caller::of(&request)?.require_user()?;
    let asked = request.get_ref();
    let user = asked.user_id.as_deref().and_then(|user| user.parse().ok());
    let size = page::size(asked.page_size);
    let cursor: Option<(i64, Uuid)> = page::decode(OWED, &asked.page_token)?;
    let before = cursor.and_then(|(at, id)| Some((Timestamp::from_microsecond(at).ok()?, id)));
    let mut rows = purchases::owed(&app.db, user, before, size + 1).await?;
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    let last = rows.last().filter(|_| more);
    let next = last.and_then(|row| Some(page::encode(OWED, &(row.closed_at?.as_microsecond(), row.id))));
    Ok(Response::new(v1::ListOwedResponse {
        transactions: rows.iter().map(crate::purchase::Purchase::transaction).collect(),
        next_page_token: next.unwrap_or_default(),
    }))
}
