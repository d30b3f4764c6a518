//! `Grant`, `Spend`, `SpendMany`, `Transfer`.

use coreloop_core::Problem;
use coreloop_wallet_api::v1::{self, House, PostingKind};
use futures::future::join_all;
use tonic::{Request, Response};

use super::{
    batch,
    parse::{self, Violations},
};
use crate::{
    App, Error,
    funds::Lot,
    order::{Act, Movement, Order, Origin, Party},
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
pub async fn spend(app: &App, request: Request<v1::SpendRequest>) -> Result<Response<v1::SpendResponse>, Error> {
    let mut wrong = Violations::default();
    let order = spent(&request, &mut wrong, "", request.get_ref())?;
    wrong.none()?;
    let posting = app.ledger.post(order).await?;
    Ok(Response::new(v1::SpendResponse { posting: Some(posting) }))
}

/// `SpendMany`: each as [`spend`], all of them at once, so that they wait together and are one batch.
///
/// # Errors
/// Fields that break their rules, of whichever spend; what is wrong with all of them, where nothing is known of any.
pub async fn spend_many(
    app: &App,
    request: Request<v1::SpendManyRequest>,
) -> Result<Response<v1::SpendManyResponse>, Error> {
    let mut wrong = Violations::default();
    let mut orders = Vec::with_capacity(request.get_ref().spends.len());
    for (index, one) in request.get_ref().spends.iter().enumerate() {
        let asked =
            one.spend.as_ref().ok_or_else(|| Problem::internal("a spend without what the contract requires"))?;
        let mut order = spent(&request, &mut wrong, &format!("spends[{index}].spend."), asked)?;
        order.origin = Origin::told(&one.traceparent, &one.request_id);
        orders.push(order);
    }
    wrong.none()?;
    let posted = join_all(orders.into_iter().map(|order| app.ledger.post(order))).await;
    let (mut results, mut unknown) = (Vec::with_capacity(posted.len()), Vec::new());
    for outcome in posted.into_iter().map(batch::result) {
        results.push(outcome.unwrap_or_else(|error| {
            unknown.push(error);
            v1::BatchResult { outcome: None }
        }));
    }
    match unknown.pop() {
        Some(error) if unknown.len() + 1 == results.len() => Err(error),
        Some(error) => {
            tracing::warn!(%error, unknown = unknown.len() + 1, spends = results.len(), "it is not known what became of some");
            Ok(Response::new(v1::SpendManyResponse { results }))
        }
        None => Ok(Response::new(v1::SpendManyResponse { results })),
    }
}

/// The order of a spend; its key names the same act by whichever RPC it comes.
fn spent<T>(
    request: &Request<T>,
    wrong: &mut Violations,
    at: &str,
    asked: &v1::SpendRequest,
) -> Result<Order, Problem> {
    let mut body = asked.clone();
    let key = std::mem::take(&mut body.idempotency_key);
    let movement = Movement {
        from: Party::User(wrong.user(&format!("{at}user_id"), &body.user_id)),
        to: Party::House(parse::house(body.destination, House::Sink)),
        currency: parse::currency(body.currency),
        amount: body.amount,
        lot: Lot::FREE,
    };
    let cause = parse::cause(request, &body.reason, &body.reference, key)?;
    Ok(Order::new(cause, "Spend", &body, act(PostingKind::Spend, movement)))
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
