//! `FindPostings`.

use coreloop_access::Caller;
use coreloop_wallet_api::v1;
use sqlx::PgExecutor;
use tonic::{Request, Response};

use crate::{App, Error, app, order, store::postings};

/// `FindPostings`: what the caller has posted under its keys.
///
/// # Errors
/// When the database fails.
pub async fn find_postings(
    app: &App,
    request: Request<v1::FindPostingsRequest>,
) -> Result<Response<v1::FindPostingsResponse>, Error> {
    let service = Caller::of(&request)?.require_machine()?.service.clone();
    let postings = found(&app.db, &service, request.into_inner().idempotency_keys).await?;
    Ok(Response::new(v1::FindPostingsResponse { postings }))
}

/// What a service has posted under keys, in their order.
///
/// # Errors
/// When the database fails.
pub async fn found(db: impl PgExecutor<'_>, service: &str, keys: Vec<String>) -> Result<Vec<v1::KeyedPosting>, Error> {
    let caller = format!("service:{service}");
    let ids: Vec<_> = keys.iter().map(|key| order::posting_id(&caller, key)).collect();
    let made = postings::made(db, &ids).await?;
    let mut postings = Vec::with_capacity(made.len());
    for (idempotency_key, id) in keys.into_iter().zip(ids) {
        if let Some(made) = made.get(&id).filter(|made| made.caller == caller) {
            postings.push(v1::KeyedPosting { idempotency_key, posting: Some(app::read(made)?) });
        }
    }
    Ok(postings)
}
