//! Redemptions: a piece of the stock is set aside and points are taken, then the vendor is asked; what comes to nothing is
//! given back, once.
//!
//! Each step is written down before the next is begun, and is begun again by whoever finds it unfinished: the wallet and the
//! vendor are asked under keys made of the redemption, so asked again they answer what they did. A step is left by one statement
//! that says which (`where state = …`), so of two who come with an answer one writes it, with its line in the audit, its fact, and
//! the piece that goes back.

use std::{collections::HashMap, time::Duration};

use coreloop_core::{Problem, Reason, UserId};
use coreloop_db::deadline;
use coreloop_eventing::{Facts, Queue};
use coreloop_facts::v1::{RewardsRedemptionFailed, RewardsRedemptionIssued, RewardsRedemptionRequested};
use coreloop_planted::{self as planted, Bug};
use coreloop_rewards_api::v1::RewardsReason;
use coreloop_wallet_api::v1::KeyedPosting;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    bank::{Cause, Unpaid},
    ending,
    grants::sha,
    origin::Origin,
    store::{
        audit::{self, Line},
        inventory,
        redemptions::{self, Redemption, State, Step},
    },
    times::proto_time,
    vault::Sealed,
    vendor::Said,
};

/// Longest wait of whoever redeems for the broker of commands. One that is away may take as long as it likes to say so.
const SENDING: Duration = Duration::from_secs(2);

/// What the command to the vendor says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Issue {
    /// Which redemption.
    pub redemption_id: Uuid,
}

/// The id of what a user redeems under a key.
#[must_use]
pub fn id_of(user: UserId, key: &str) -> Uuid {
    let hash = sha(&["redemption", &user.to_string(), key]);
    uuid::Builder::from_custom_bytes(hash.first_chunk::<16>().copied().unwrap_or_default()).into_uuid()
}

/// Redeems. The answer may be on its way; a key that was asked before is answered what has become of it.
///
/// # Errors
/// The refusals of the contract; [`Error::KeyReused`].
pub async fn redeem(app: &App, user: UserId, sku: &str, key: &str) -> Result<Redemption, Error> {
    let id = id_of(user, key);
    let redemption = match redemptions::by_id(&app.db, id).await? {
        Some(known) => known,
        // Nobody would issue it: neither a piece nor points are taken.
        None if !app.vendor.is_set() => return Err(RewardsReason::RewardUnavailable.into()),
        None => match reserve(app, user, sku, key).await? {
            Ok(new) => advance(app, new).await?,
            Err(known) => known,
        },
    };
    if redemption.sku != sku {
        return Err(Error::KeyReused);
    }
    match redemption.state {
        State::Cancelled => Err(crate::error::reason_of(&redemption.reason).into()),
        // Whoever wrote it asks the wallet, or the recovery does, and nobody else: two who ask at once may be told different things.
        State::Reserved => Err(in_progress()),
        _ => Ok(redemption),
    }
}

pub(crate) fn in_progress() -> Error {
    Problem::common(Reason::InProgress, "the redemption is on its way").retry_after(Duration::from_millis(200)).into()
}

/// Sets a piece aside for a new redemption; answers the one that is known when another was first.
async fn reserve(app: &App, user: UserId, sku: &str, key: &str) -> Result<Result<Redemption, Redemption>, Error> {
    let id = id_of(user, key);
    let mut tx = coreloop_db::begin(&app.db).await?;
    let piece = match inventory::take(&mut tx, sku, app.clock.now()).await {
        Err(Error::Refused(why)) => {
            tx.rollback().await?;
            // Whoever asked with this key a moment ago may have had the last one.
            return redemptions::by_id(&app.db, id).await?.map(Err).ok_or(Error::Refused(why));
        }
        piece => piece?,
    };
    // The article may have been waited for: the time in which nobody else takes this up begins here.
    let now = app.clock.now();
    let new = redemptions::new(id, user.0, key, sku, piece, (now, app.claim(now)));
    if !redemptions::insert(&mut tx, &new, &Origin::current()).await? {
        // The same key, a moment ago; the piece is not taken.
        tx.rollback().await?;
        let known = redemptions::by_id(&app.db, id).await?;
        return Ok(Err(known.ok_or(Error::Corrupt("a redemption that is there and is not"))?));
    }
    let actor = format!("user:{user}");
    audit::write(&mut tx, &line(&new, "requested", &actor), now).await?;
    let mut facts = Facts::new();
    let requested = RewardsRedemptionRequested {
        redemption_id: id.to_string(),
        user_id: user.to_string(),
        sku: sku.to_owned(),
        price: new.price,
        occurred_at: Some(proto_time(now)),
    };
    facts.add(&*app.ids, user.to_string(), &requested)?;
    app.outbox.write(&mut tx, &facts, now).await?;
    tx.commit().await?;
    Ok(Ok(new))
}

/// Does what is next, as far as others let it.
///
/// # Errors
/// When the database fails.
pub async fn advance(app: &App, redemption: Redemption) -> Result<Redemption, Error> {
    let mut redemption = redemption;
    if redemption.state == State::Reserved {
        redemption = pay(app, redemption).await?;
    }
    match redemption.state {
        State::Paid => ask_vendor(app, &redemption).await,
        State::Returning => redemption = refund(app, redemption).await?,
        _ => {}
    }
    Ok(redemption)
}

/// Takes the points.
async fn pay(app: &App, redemption: Redemption) -> Result<Redemption, Error> {
    let cause = Cause { reason: "rewards.redeem", subject: redemption.id };
    match app.bank.spend_points(UserId(redemption.user_id), redemption.price, cause).await {
        Ok(spent) => {
            let paid = step(app, &redemption, Step::Paid { spent }).await?;
            if paid.state == State::Cancelled {
                // Somebody was told that the points are not there, and then they were.
                tracing::error!(redemption_id = %paid.id, "points were taken for what was cancelled; they go back");
                return step(app, &paid, Step::PaidLate { spent }).await;
            }
            Ok(paid)
        }
        Err(Unpaid::Refused(reason)) => {
            let reason = if reason == "INSUFFICIENT_FUNDS" { "INSUFFICIENT_POINTS".to_owned() } else { reason };
            step(app, &redemption, Step::Cancelled { reason }).await
        }
        Err(Unpaid::Unknown(status)) => {
            tracing::warn!(redemption_id = %redemption.id, code = ?status.code(), "a redemption waits for the wallet");
            Ok(redemption)
        }
    }
}

/// Sends the command; what is not sent, or lost, the recovery sends again.
async fn ask_vendor(app: &App, redemption: &Redemption) {
    let Some(commands) = &app.commands else { return };
    let (id, issue) = (redemption.id, Issue { redemption_id: redemption.id });
    // The key is the redemption: one that a vendor lets wait holds back no other.
    match deadline::within(SENDING, commands.send(Queue::REWARDS_ISSUE, id.to_string(), id, &issue)).await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::warn!(redemption_id = %id, %error, "a vendor is asked later"),
        None => tracing::warn!(redemption_id = %id, "a vendor is asked later: the broker says nothing"),
    }
}

/// Gives the points back.
async fn refund(app: &App, redemption: Redemption) -> Result<Redemption, Error> {
    let Some(spent) = redemption.spent else { return Err(Error::Corrupt("a redemption without its posting")) };
    match app.bank.reverse(spent, Cause { reason: "rewards.refund", subject: redemption.id }).await {
        Ok(returned) => step(app, &redemption, Step::Failed { returned }).await,
        Err(why) => {
            tracing::warn!(redemption_id = %redemption.id, ?why, "points are given back later");
            Ok(redemption)
        }
    }
}

/// Takes up what was cancelled and paid for all the same, where nobody heard of it but the wallet: who asked it had gone, and
/// whoever asked it next was refused. The recovery gives the points back.
///
/// # Errors
/// When the wallet or the database fails.
pub async fn heard_late(app: &App, cancelled: &[Uuid]) -> Result<(), Error> {
    let key = |id: &Uuid| Cause { reason: "rewards.redeem", subject: *id }.key();
    let of: HashMap<String, Uuid> = cancelled.iter().map(|id| (key(id), *id)).collect();
    for KeyedPosting { idempotency_key, posting } in app.bank.posted(of.keys().cloned().collect()).await? {
        let spent = posting.and_then(|posting| posting.posting_id.parse().ok());
        let (Some(id), Some(spent)) = (of.get(&idempotency_key), spent) else { continue };
        tracing::error!(redemption_id = %id, "points were taken for what was cancelled, and nobody heard; they go back");
        let mut tx = coreloop_db::begin(&app.db).await?;
        // None where somebody has taken it up since.
        let _stepped = write_step(app, &mut tx, *id, &Step::PaidLate { spent }).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// What an interrupted redemption needs; the vendor is asked to let go of what has taken too long.
///
/// # Errors
/// When the database fails.
pub async fn recover(app: &App, redemption: Redemption) -> Result<(), Error> {
    let waited = app.clock.now().duration_since(redemption.paid_at.map_or(Timestamp::MAX, |at| at.to_jiff()));
    if redemption.state != State::Paid || waited < SignedDuration::from_secs(app.options.give_up_secs.into()) {
        advance(app, redemption).await?;
        return Ok(());
    }
    match app.vendor.cancel(redemption.id).await {
        Ok(said) => {
            let next = of_vendor(app, redemption.id, said)?;
            let redemption = step(app, &redemption, next).await?;
            advance(app, redemption).await?;
        }
        Err(problem) => {
            tracing::warn!(redemption_id = %redemption.id, error = %chain(&problem), "a vendor says nothing");
        }
    }
    Ok(())
}

pub(crate) fn chain(problem: &Problem) -> String {
    let causes = std::iter::successors(Some(problem as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The step that follows from what the vendor said. The code is sealed before anything else happens to it.
///
/// # Errors
/// When it cannot be sealed.
pub fn of_vendor(app: &App, redemption: Uuid, said: Said) -> Result<Step, Error> {
    Ok(match said {
        Said::Issued(order) => {
            Step::Issued { order_id: order.order_id, code: app.vault.seal(redemption, &order.code)? }
        }
        Said::Refused(reason) => Step::Refused { reason: format!("VENDOR:{reason}") },
    })
}

/// Writes a step in a transaction of its own, unless somebody was first; answers how it stands.
async fn step(app: &App, redemption: &Redemption, next: Step) -> Result<Redemption, Error> {
    let mut tx = coreloop_db::begin(&app.db).await?;
    let Some(stepped) = write_step(app, &mut tx, redemption.id, &next).await? else {
        tx.rollback().await?;
        let now = redemptions::by_id(&app.db, redemption.id).await?;
        ending::late(app, now.as_ref(), &next);
        return now.ok_or(Error::Corrupt("a redemption that is gone"));
    };
    tx.commit().await?;
    count(app, &stepped);
    Ok(stepped)
}

/// Counts what has come to an end.
pub fn count(app: &App, redemption: &Redemption) {
    let (Some(ended), status) = (redemption.ended_at, redemption.state.name()) else { return };
    app.metrics.ended(status, ended.to_jiff().duration_since(redemption.created_at.to_jiff()));
}

/// Writes a step with all that belongs to it; none when it was left before.
///
/// # Errors
/// When the database fails.
pub async fn write_step(
    app: &App,
    connection: &mut PgConnection,
    id: Uuid,
    next: &Step,
) -> Result<Option<Redemption>, Error> {
    let now = app.clock.now();
    // What is returning is due at once, what was paid when the vendor has had its time.
    let due = if matches!(next, Step::Paid { .. }) { app.resend(now) } else { now };
    let Some(stepped) = redemptions::step(connection, id, next, now, due).await? else { return Ok(None) };
    let back = matches!(next, Step::Refused { .. } | Step::Cancelled { .. });
    if back || (planted::on(Bug::PieceTwice) && stepped.state == State::Failed) {
        inventory::give_back(connection, &stepped.sku).await?;
    }
    audit::write(connection, &line(&stepped, stepped.state.name(), "rewards"), now).await?;
    app.outbox.write(connection, &facts(app, &stepped)?, now).await?;
    Ok(Some(stepped))
}

fn line<'a>(redemption: &Redemption, step: &'a str, actor: &'a str) -> Line<'a> {
    Line {
        subject: redemption.id,
        step,
        actor,
        user: redemption.user_id,
        detail: json!({
            "what": "redemption",
            "sku": redemption.sku,
            "price": redemption.price,
            "reason": redemption.reason,
            "spent": redemption.spent,
            "returned": redemption.returned,
            "order_id": redemption.order_id,
        }),
    }
}

fn facts(app: &App, redemption: &Redemption) -> Result<Facts, Error> {
    let (id, user) = (redemption.id.to_string(), redemption.user_id.to_string());
    let occurred_at = redemption.ended_at.map(|at| proto_time(at.to_jiff()));
    let (sku, key) = (redemption.sku.clone(), user.clone());
    let mut facts = Facts::new();
    match redemption.state {
        State::Issued => {
            let issued = RewardsRedemptionIssued { redemption_id: id, user_id: user, sku, occurred_at };
            facts.add(&*app.ids, key, &issued)?;
        }
        // It was told when it was cancelled.
        State::Failed if redemption.paid_at.is_none() => {}
        State::Failed | State::Cancelled => {
            let failed = RewardsRedemptionFailed {
                redemption_id: id,
                user_id: user,
                sku,
                reason: redemption.reason.clone(),
                returned_posting_id: redemption.returned.map(|id| id.to_string()).unwrap_or_default(),
                occurred_at,
            };
            facts.add(&*app.ids, key, &failed)?;
        }
        _ => {}
    }
    Ok(facts)
}

/// The voucher's code, for its owner.
///
/// # Errors
/// When it does not open.
pub fn code(app: &App, redemption: &Redemption) -> Result<String, Error> {
    let Some(bytes) = &redemption.code_sealed else { return Ok(String::new()) };
    app.vault.open(redemption.id, &Sealed { bytes: bytes.clone(), key: redemption.code_key.clone() })
}
