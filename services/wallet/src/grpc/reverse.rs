//! `Reverse`.

use coreloop_wallet_api::v1;
use tonic::{Request, Response};
use uuid::Uuid;

use super::parse;
use crate::{
    App, Error,
    order::{Act, Order},
};

/// `Reverse`.
///
/// # Errors
/// As the contract lists.
pub async fn reverse(
    app: &App,
    mut request: Request<v1::ReverseRequest>,
) -> Result<Response<v1::ReverseResponse>, Error> {
    let key = std::mem::take(&mut request.get_mut().idempotency_key);
    let asked = request.get_ref();
    let cause = parse::cause(&request, &asked.reason, &asked.reference, key)?;
    let id: Uuid = asked.posting_id.parse().map_err(|_| Error::invalid("posting_id", "must be a UUID"))?;
    let act = Act::Reverse {
        original: app.posting_of(&cause.caller, id).await?,
        amount: Some(asked.amount).filter(|amount| *amount > 0),
    };
    let posting = app.ledger.post(Order::new(cause, "Reverse", asked, act)).await?;
    Ok(Response::new(v1::ReverseResponse { posting: Some(posting) }))
}
