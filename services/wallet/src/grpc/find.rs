//! `FindPostings`.

use coreloop_access::Caller;
use coreloop_wallet_api::v1;
use tonic::{Request, Response};

use crate::{App, Error, order};

/// `FindPostings`: what the caller has posted under its keys.
///
/// # Errors
/// When the database fails.
pub async fn find_postings(
    app: &App,
    request: Request<v1::FindPostingsRequest>,
) -> Result<Response<v1::FindPostingsResponse>, Error> {
    let caller = format!("service:{}", Caller::of(&request)?.require_machine()?.service);
    let keys = request.into_inner().idempotency_keys;
    let ids = keys.iter().map(|key| order::posting_id(&caller, key)).collect::<Vec<_>>();
    let mut made = app.postings_of(&caller, &ids).await?;
    let found = keys.into_iter().zip(ids).filter_map(|(idempotency_key, id)| {
        made.remove(&id).map(|posting| v1::KeyedPosting { idempotency_key, posting: Some(posting) })
    });
    Ok(Response::new(v1::FindPostingsResponse { postings: found.collect() }))
}
