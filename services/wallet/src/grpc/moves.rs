//! `Grant`, `Spend`, `Transfer`.

use coreloop_wallet_api::v1::{self, House, PostingKind};
use tonic::{Request, Response};

use super::parse::{self, Violations};
use crate::{
    App, Error,
    funds::Lot,
    order::{Act, Movement, Order, Party},
};

fn act(kind: PostingKind, movement: Movement) -> Act {
    Act::Move { kind, movements: vec![movement] }
}

/// `Grant`.
///
/// # Errors
/// As the contract lists.
pub async fn grant(app: &App, mut request: Request<v1::GrantRequest>) -> Result<Response<v1::GrantResponse>, Error> {
    let key = std::mem::take(&mut request.get_mut().idempotency_key);
    let asked = request.get_ref();
    let mut wrong = Violations::default();
    let user = wrong.user("user_id", &asked.user_id);
    let expires_at = wrong.expiry("expires_at", asked.expires_at.as_ref());
    wrong.none()?;
    let movement = Movement {
        from: Party::House(parse::house(asked.source, House::Mint)),
        to: Party::User(user),
        currency: parse::currency(asked.currency),
        amount: asked.amount,
        lot: parse::lot(asked.funds, expires_at),
    };
    let cause = parse::cause(&request, &asked.reason, &asked.reference, key)?;
    let posting = app.ledger.post(Order::new(cause, "Grant", asked, act(PostingKind::Grant, movement))).await?;
    Ok(Response::new(v1::GrantResponse { posting: Some(posting) }))
}

/// `Spend`.
///
/// # Errors
/// As the contract lists.
pub async fn spend(app: &App, mut request: Request<v1::SpendRequest>) -> Result<Response<v1::SpendResponse>, Error> {
    let key = std::mem::take(&mut request.get_mut().idempotency_key);
    let asked = request.get_ref();
    let mut wrong = Violations::default();
    let user = wrong.user("user_id", &asked.user_id);
    wrong.none()?;
    let movement = Movement {
        from: Party::User(user),
        to: Party::House(parse::house(asked.destination, House::Sink)),
        currency: parse::currency(asked.currency),
        amount: asked.amount,
        lot: Lot::FREE,
    };
    let cause = parse::cause(&request, &asked.reason, &asked.reference, key)?;
    let posting = app.ledger.post(Order::new(cause, "Spend", asked, act(PostingKind::Spend, movement))).await?;
    Ok(Response::new(v1::SpendResponse { posting: Some(posting) }))
}

/// `Transfer`.
///
/// # Errors
/// As the contract lists.
pub async fn transfer(
    app: &App,
    mut request: Request<v1::TransferRequest>,
) -> Result<Response<v1::TransferResponse>, Error> {
    let key = std::mem::take(&mut request.get_mut().idempotency_key);
    let asked = request.get_ref();
    let mut wrong = Violations::default();
    let (from, to) = (wrong.user("from_user_id", &asked.from_user_id), wrong.user("to_user_id", &asked.to_user_id));
    if from == to {
        wrong.add("to_user_id", "must be somebody else");
    }
    wrong.none()?;
    let movement = Movement {
        from: Party::User(from),
        to: Party::User(to),
        currency: parse::currency(asked.currency),
        amount: asked.amount,
        lot: Lot::FREE,
    };
    let cause = parse::cause(&request, &asked.reason, &asked.reference, key)?;
    let posting = app.ledger.post(Order::new(cause, "Transfer", asked, act(PostingKind::Transfer, movement))).await?;
    Ok(Response::new(v1::TransferResponse { posting: Some(posting) }))
}
