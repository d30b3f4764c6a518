//! `PostBatch`.

use coreloop_access::Caller;
use coreloop_wallet_api::v1::{self, PostingKind, batch_result::Outcome};
use tonic::{Request, Response};

use super::parse::{self, Violations};
use crate::{
    App, Error,
    order::{Act, Movement, Order, Party},
};

/// `PostBatch`: past the queue, in transactions of its own, one caller at a time, so that settlements together take no more
/// from those who post one by one than a single one does. One posting alone goes through the queue.
///
/// # Errors
/// Fields that break their rules, of whichever posting; `OVERLOADED`. Where it is not known what became of one, the whole call
/// fails: a refusal is told of what was refused and of nothing else.
pub async fn post_batch(
    app: &App,
    request: Request<v1::PostBatchRequest>,
) -> Result<Response<v1::PostBatchResponse>, Error> {
    Caller::of(&request)?.require_machine()?;
    let mut wrong = Violations::default();
    let mut orders = Vec::with_capacity(request.get_ref().postings.len());
    for (index, posting) in request.get_ref().postings.iter().enumerate() {
        let movements = movements(&mut wrong, &format!("postings[{index}]"), posting);
        let mut body = posting.clone();
        let key = std::mem::take(&mut body.idempotency_key);
        let cause = parse::cause(&request, &body.reason, &body.reference, key)?;
        orders.push(Order::new(cause, "PostBatch", &body, Act::Move { kind: PostingKind::Batch, movements }));
    }
    wrong.none()?;
    let outcomes = match <[Order; 1]>::try_from(orders) {
        // One is no settlement: it goes with those that are posted one by one, and waits for nobody's many.
        Ok([one]) => vec![app.ledger.post(one).await],
        Err(many) => app.ledger.post_all(many, app.options.batch).await?,
    };
    let results = outcomes.into_iter().map(result);
    Ok(Response::new(v1::PostBatchResponse { results: results.collect::<Result<_, _>>()? }))
}

/// What became of one of many.
///
/// # Errors
/// When it is not known.
pub(super) fn result(outcome: Result<v1::Posting, Error>) -> Result<v1::BatchResult, Error> {
    let outcome = match outcome {
        Ok(posting) => Outcome::Posting(posting),
        Err(Error::Refused(refusal)) => Outcome::Refusal(v1::Refusal::from(&refusal)),
        Err(unknown) => return Err(unknown),
    };
    Ok(v1::BatchResult { outcome: Some(outcome) })
}

fn movements(wrong: &mut Violations, at: &str, posting: &v1::BatchPosting) -> Vec<Movement> {
    let parsed = posting.movements.iter().enumerate().map(|(index, movement)| {
        let at = format!("{at}.movements[{index}]");
        let from = wrong.party(&format!("{at}.from"), movement.from.as_ref());
        let to = wrong.party(&format!("{at}.to"), movement.to.as_ref());
        if from == to {
            wrong.add(&format!("{at}.to"), "must be another account");
        }
        let expires_at = wrong.expiry(&format!("{at}.expires_at"), movement.expires_at.as_ref());
        let given = matches!((from, to), (Party::House(_), Party::User(_)));
        if !given && (movement.expires_at.is_some() || movement.funds.is_some()) {
            wrong.add(&at, "says what kind of value the house gives to a user where it does not");
        }
        Movement {
            from,
            to,
            currency: parse::currency(movement.currency),
            amount: movement.amount,
            lot: parse::lot(movement.funds, expires_at),
        }
    });
    parsed.collect()
}
