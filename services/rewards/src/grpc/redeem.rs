//! `Redeem`, `ListRedemptions`, `GetRedemption`: of the caller, and of nobody else. `CancelRedemption`, of administrators.

use coreloop_access::Caller;
use coreloop_core::page;
use coreloop_rewards_api::v1::{self, RewardsReason};
use jiff::Timestamp;
use tonic::{Request, Response};
use uuid::Uuid;

use crate::{
    App, Error, ending, redemptions,
    store::redemptions::{Redemption, by_id, of_user},
    times::proto_time,
};

/// Name of the list in its page tokens.
const REDEMPTIONS: &str = "rewards.redemptions";

/// `Redeem`.
///
/// # Errors
/// As the contract lists.
pub async fn redeem(app: &App, request: Request<v1::RedeemRequest>) -> Result<Response<v1::RedeemResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.into_inner();
    let redemption = redemptions::redeem(app, user, &asked.sku, &asked.idempotency_key).await?;
    Ok(Response::new(v1::RedeemResponse { redemption: Some(proto_redemption(app, redemption)) }))
}

/// `ListRedemptions`.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_redemptions(
    app: &App,
    request: Request<v1::ListRedemptionsRequest>,
) -> Result<Response<v1::ListRedemptionsResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.get_ref();
    let size = page::size(asked.page_size);
    let cursor: Option<(i64, Uuid)> = page::decode(REDEMPTIONS, &asked.page_token)?;
    let before = cursor.and_then(|(at, id)| Some((Timestamp::from_microsecond(at).ok()?, id)));
    let mut rows = of_user(&app.db, user.0, before, size + 1).await?;
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| page::encode(REDEMPTIONS, &(row.created_at.to_jiff().as_microsecond(), row.id)));
    Ok(Response::new(v1::ListRedemptionsResponse {
        redemptions: rows.into_iter().map(|row| proto_redemption(app, row)).collect(),
        next_page_token: next.unwrap_or_default(),
    }))
}

/// `GetRedemption`: one of somebody else is none.
///
/// # Errors
/// `REDEMPTION_NOT_FOUND`.
pub async fn get_redemption(
    app: &App,
    request: Request<v1::GetRedemptionRequest>,
) -> Result<Response<v1::GetRedemptionResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let id = request.get_ref().redemption_id.parse().map_err(|_| Error::invalid("redemption_id", "must be a UUID"))?;
    let found = by_id(&app.db, id).await?.filter(|found| found.user_id == user.0);
    let redemption = found.ok_or(RewardsReason::RedemptionNotFound)?;
    Ok(Response::new(v1::GetRedemptionResponse { redemption: Some(proto_redemption(app, redemption)) }))
}

/// `CancelRedemption`.
///
/// # Errors
/// As the contract lists.
pub async fn cancel_redemption(
    app: &App,
    request: Request<v1::CancelRedemptionRequest>,
) -> Result<Response<v1::CancelRedemptionResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.into_inner();
    let id = asked.redemption_id.parse().map_err(|_| Error::invalid("redemption_id", "must be a UUID"))?;
    let redemption = ending::end(app, id, by, &asked.reason).await?;
    tracing::info!(redemption_id = %id, state = redemption.state.name(), by = %by, "a redemption was ended by hand");
    // The code is its owner's alone.
    let redemption = Redemption { code_sealed: None, ..redemption };
    Ok(Response::new(v1::CancelRedemptionResponse { redemption: Some(proto_redemption(app, redemption)) }))
}

fn proto_redemption(app: &App, redemption: Redemption) -> v1::Redemption {
    // One code that does not open hides nothing else; with its key it is there again.
    let code = redemptions::code(app, &redemption).inspect_err(|error| {
        tracing::error!(%error, redemption_id = %redemption.id, key = redemption.code_key, "a voucher is shown without its code");
    });
    v1::Redemption {
        voucher_code: code.unwrap_or_default(),
        redemption_id: redemption.id.to_string(),
        sku: redemption.sku,
        price: redemption.price,
        state: redemption.state as i32,
        reason: redemption.reason,
        created_at: Some(proto_time(redemption.created_at.to_jiff())),
        ended_at: redemption.ended_at.map(|at| proto_time(at.to_jiff())),
    }
}
