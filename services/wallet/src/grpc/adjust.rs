//! `Adjust`.

use coreloop_access::Caller;
use coreloop_wallet_api::v1::{self, Currency, House, PostingKind};
use tonic::{Request, Response};

use super::parse::{self, Violations};
use crate::{
    App, Error,
    funds::Lot,
    order::{Act, Cause, Movement, Order, Party},
};

/// `Adjust`: from the mint or to the sink. Before and after are in the answer, and kept.
///
/// # Errors
/// As the contract lists.
pub async fn adjust(app: &App, mut request: Request<v1::AdjustRequest>) -> Result<Response<v1::AdjustResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let key = std::mem::take(&mut request.get_mut().idempotency_key);
    let asked = request.get_ref();
    parse::words(&[("reason", &asked.reason), ("reference", &asked.reference), ("idempotency_key", &key)])?;
    let mut wrong = Violations::default();
    let user = Party::User(wrong.user("user_id", &asked.user_id));
    wrong.none()?;
    let (from, to) = match asked.delta {
        delta if delta > 0 => (Party::House(House::Mint), user),
        _ => (user, Party::House(House::Sink)),
    };
    let movement = Movement {
        from,
        to,
        currency: parse::currency(asked.currency.unwrap_or(Currency::Point.into())),
        amount: asked.delta.saturating_abs(),
        lot: Lot::FREE,
    };
    let cause = Cause {
        // Of each administrator alone: one cannot be answered what another did.
        caller: format!("admin:{by}").into(),
        actor: format!("user:{by}").into(),
        key,
        reason: asked.reason.clone(),
        reference: if asked.reference.is_empty() { by.to_string() } else { asked.reference.clone() },
    };
    let act = Act::Move { kind: PostingKind::Adjustment, movements: vec![movement] };
    let posting = app.ledger.post(Order::new(cause, "Adjust", asked, act).by(by)).await?;
    tracing::info!(user_id = %asked.user_id, by = %by, delta = asked.delta, posting_id = posting.posting_id, "wallet adjusted");
    Ok(Response::new(v1::AdjustResponse { posting: Some(posting) }))
}
