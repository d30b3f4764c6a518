//! `Hold`, `Capture`, `Release`.

use coreloop_wallet_api::v1::{self, House};
use jiff::SignedDuration;
use tonic::{Request, Response};
use uuid::Uuid;

use super::parse::{self, Violations};
use crate::{
    App, Error,
    order::{Act, Order, Settle},
};

/// `Hold`.
///
/// # Errors
/// As the contract lists.
pub async fn hold(app: &App, mut request: Request<v1::HoldRequest>) -> Result<Response<v1::HoldResponse>, Error> {
    let key = std::mem::take(&mut request.get_mut().idempotency_key);
    let asked = request.get_ref();
    let mut wrong = Violations::default();
    let user = wrong.user("user_id", &asked.user_id);
    wrong.none()?;
    let ttl = asked.ttl.map_or(i64::from(app.options.hold_secs), |ttl| ttl.seconds);
    let now = app.clock.now();
    let act = Act::Hold {
        user,
        currency: parse::currency(asked.currency),
        amount: asked.amount,
        expires_at: now.saturating_add(SignedDuration::from_secs(ttl)).unwrap_or(now).as_microsecond(),
    };
    let cause = parse::cause(&request, &asked.reason, &asked.reference, key)?;
    let posting = app.ledger.post(Order::new(cause, "Hold", asked, act)).await?;
    Ok(Response::new(v1::HoldResponse { posting: Some(posting) }))
}

/// The posting that made a hold; of whoever made it, for others there is none.
async fn made(app: &App, caller: &str, hold_id: &str) -> Result<Box<v1::Posting>, Error> {
    let id: Uuid = hold_id.parse().map_err(|_| Error::invalid("hold_id", "must be a UUID"))?;
    let posting = app.posting_of(caller, id).await?;
    // Of another kind it is no hold, and nobody's accounts are locked for it.
    Ok(if posting.kind() == v1::PostingKind::Hold { posting } else { Box::default() })
}

/// `Capture`.
///
/// # Errors
/// As the contract lists.
pub async fn capture(
    app: &App,
    mut request: Request<v1::CaptureRequest>,
) -> Result<Response<v1::CaptureResponse>, Error> {
    let key = std::mem::take(&mut request.get_mut().idempotency_key);
    let asked = request.get_ref();
    let cause = parse::cause(&request, &asked.reason, &asked.reference, key)?;
    let how = Settle::Capture {
        amount: Some(asked.amount).filter(|amount| *amount > 0),
        to: parse::house(asked.destination, House::Sink),
    };
    let act = Act::Settle { made: made(app, &cause.caller, &asked.hold_id).await?, how };
    let posting = app.ledger.post(Order::new(cause, "Capture", asked, act)).await?;
    Ok(Response::new(v1::CaptureResponse { posting: Some(posting) }))
}

/// `Release`.
///
/// # Errors
/// As the contract lists.
pub async fn release(
    app: &App,
    mut request: Request<v1::ReleaseRequest>,
) -> Result<Response<v1::ReleaseResponse>, Error> {
    let key = std::mem::take(&mut request.get_mut().idempotency_key);
    let asked = request.get_ref();
    let cause = parse::cause(&request, &asked.reason, &asked.reference, key)?;
    let act = Act::Settle { made: made(app, &cause.caller, &asked.hold_id).await?, how: Settle::Release };
    let posting = app.ledger.post(Order::new(cause, "Release", asked, act)).await?;
    Ok(Response::new(v1::ReleaseResponse { posting: Some(posting) }))
}
