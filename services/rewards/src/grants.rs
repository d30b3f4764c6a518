//! Grants: what is promised is written down first, then given, then known to be given.
//!
//! The promise, its audit and, for a campaign, its place in it are one transaction. The wallet is asked with no transaction
//! open and under the grant's own key, so whoever asks again, the caller or the recovery, gets the first answer, and a refusal
//! stays one: what is refused here is never posted there. What became of it is one transaction more, and of several who come
//! with the answer one writes it.

use aws_lc_rs::digest;
use coreloop_core::UserId;
use coreloop_eventing::Facts;
use coreloop_facts::v1::RewardsGranted;
use coreloop_rewards_api::v1::{RewardKind, RewardsReason};
use coreloop_wallet_api::v1::Currency;
use jiff::Timestamp;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error, acts,
    bank::{Cause, Unpaid},
    error,
    store::{
        audit::{self, Line},
        campaigns, grants,
        grants::{Ended, Grant, State},
    },
    times::proto_time,
};

/// What is to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gift {
    /// What.
    pub kind: RewardKind,
    /// How much; above zero.
    pub amount: i64,
    /// Which item or character; else empty.
    pub item: String,
}

/// Somebody asks that a user is given something.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Whose events: `service:scan`, `admin:<id>`, `user:<id>`, `ads`.
    pub source: String,
    /// Who asks, for the audit.
    pub actor: String,
    /// The event, among those of the source.
    pub external_event_id: String,
    /// Who is to get it.
    pub user: UserId,
    /// What.
    pub what: What,
    /// Why, in a word.
    pub reason: String,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub enum What {
    /// This.
    Gift(Gift),
    /// What the campaign gives.
    Campaign(String),
}

impl Ask {
    /// The id of the grant: an external event of a source is one, for ever.
    #[must_use]
    pub fn id(&self) -> Uuid {
        let hash = sha(&[&self.source, &self.external_event_id]);
        let bytes = hash.first_chunk::<16>().copied().unwrap_or_default();
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// The administrator whose act it is, where it is one's.
    fn administrator(&self) -> Option<UserId> {
        self.source.strip_prefix("admin:")?.parse().ok()
    }

    /// SHA-256 of what is asked.
    #[must_use]
    pub fn body_hash(&self) -> [u8; 32] {
        let user = self.user.to_string();
        match &self.what {
            // Their words are of the request; those of who fetches for themselves are ours.
            What::Campaign(campaign) if self.administrator().is_some() => {
                sha(&["campaign by hand", &user, campaign, &self.reason])
            }
            What::Campaign(campaign) => sha(&["campaign", &user, campaign]),
            What::Gift(gift) => {
                let (kind, amount) = (gift.kind.as_str_name(), gift.amount.to_string());
                sha(&["gift", &user, kind, &amount, &gift.item, &self.reason])
            }
        }
    }
}

/// SHA-256 over parts, each with its length: none can be read as another's end.
pub(crate) fn sha(parts: &[&str]) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finish().as_ref().first_chunk::<32>().copied().unwrap_or_default()
}

/// The wallet's currency, for the kinds that it keeps.
#[must_use]
pub fn currency(kind: RewardKind) -> Option<Currency> {
    match kind {
        RewardKind::Gold => Some(Currency::Gold),
        RewardKind::Point => Some(Currency::Point),
        _ => None,
    }
}

/// Promises and gives. The answer may be pending: then the recovery gives it.
///
/// # Errors
/// [`Error::KeyReused`]; the refusals of campaigns; what the wallet refused, then and whenever asked again.
pub async fn give(app: &App, ask: &Ask) -> Result<Grant, Error> {
    if let Some(known) = grants::by_id(&app.db, ask.id()).await? {
        return again(ask, known);
    }
    match write(app, ask).await {
        Ok(Some(grant)) => finish(app, grant).await,
        // The same event, a moment ago.
        Ok(None) => {
            let known = grants::by_id(&app.db, ask.id()).await?;
            again(ask, known.ok_or(Error::Corrupt("a grant that is there and is not"))?)
        }
        // Whoever asked with this event a moment ago may have had the last one.
        Err(Error::Refused(why)) => {
            let known = grants::by_id(&app.db, ask.id()).await?;
            again(ask, known.ok_or(Error::Refused(why))?)
        }
        Err(error) if error.taken().as_deref() == Some("grants_campaign_user_key") => {
            let known = grants::by_id(&app.db, ask.id()).await?;
            again(ask, known.ok_or(Error::Refused(RewardsReason::CampaignClaimed))?)
        }
        Err(error) => Err(error),
    }
}

/// A grant that is asked for again. Whoever wrote it asks the wallet, or the recovery does: what has ended needs no trip, and what
/// is on its way is told as such.
fn again(ask: &Ask, known: Grant) -> Result<Grant, Error> {
    if known.body_hash != ask.body_hash() { Err(Error::KeyReused) } else { told(known) }
}

fn told(grant: Grant) -> Result<Grant, Error> {
    match grant.state {
        State::Refused => Err(error::reason_of(&grant.refusal).into()),
        _ => Ok(grant),
    }
}

async fn write(app: &App, ask: &Ask) -> Result<Option<Grant>, Error> {
    let now = app.clock.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    let Some(grant) = promise_within(app, &mut tx, ask, now).await? else { return Ok(None) };
    tx.commit().await?;
    Ok(Some(grant))
}

/// Writes a promise in the transaction of what it is given for; none when its event is known. [`finish`] gives it, else the
/// recovery.
///
/// # Errors
/// The refusals of campaigns; when the database fails.
pub async fn promise_within(
    app: &App,
    connection: &mut PgConnection,
    ask: &Ask,
    now: Timestamp,
) -> Result<Option<Grant>, Error> {
    let (gift, campaign) = match &ask.what {
        What::Gift(gift) => (gift.clone(), None),
        What::Campaign(id) => (campaigns::take(connection, id, now).await?, Some(id.as_str())),
    };
    // The campaign may have been waited for: the time in which nobody else takes this up begins here.
    let grant = grants::new(ask, campaign, gift, now, app.claim(app.clock.now()));
    if !grants::insert(connection, &grant).await? {
        return Ok(None);
    }
    audit::write(connection, &line(&grant, "asked", &ask.actor), now).await?;
    if let Some(by) = ask.administrator() {
        acts::promised(app, connection, by, &grant, now).await?;
    }
    Ok(Some(grant))
}

/// Gives what is pending, as far as others let it.
///
/// # Errors
/// What the wallet refused; when the database fails.
pub async fn finish(app: &App, grant: Grant) -> Result<Grant, Error> {
    match grant.state {
        State::Pending => told(attempt(app, grant).await?),
        _ => told(grant),
    }
}

async fn attempt(app: &App, grant: Grant) -> Result<Grant, Error> {
    let ended = match currency(grant.kind()) {
        // Whoever keeps that kind hears of it.
        None => Ended::Granted(None),
        Some(currency) => {
            let cause = Cause { reason: "rewards.grant", subject: grant.id };
            match app.bank.grant(UserId(grant.user_id), currency, grant.amount, cause).await {
                Ok(posting) => Ended::Granted(posting.posting_id.parse().ok()),
                Err(Unpaid::Refused(reason)) => Ended::Refused(reason),
                Err(Unpaid::Unknown(status)) => {
                    tracing::warn!(grant_id = %grant.id, code = ?status.code(), "a grant stays pending");
                    return Ok(grant);
                }
            }
        }
    };
    end(app, grant, ended).await
}

/// Writes what became of it, unless somebody has.
async fn end(app: &App, grant: Grant, ended: Ended) -> Result<Grant, Error> {
    let now = app.clock.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    if let (Ended::Refused(_), Some(campaign)) = (&ended, &grant.campaign) {
        // Before the grant: whoever asks the campaign has it locked and waits for the grant.
        campaigns::give_back(&mut tx, campaign).await?;
    }
    let Some(grant) = grants::end(&mut tx, grant.id, &ended, now).await? else {
        tx.rollback().await?;
        return grants::by_id(&app.db, grant.id).await?.ok_or(Error::Corrupt("a grant that is gone"));
    };
    let status = match ended {
        Ended::Granted(_) => "granted",
        Ended::Refused(_) => "refused",
    };
    audit::write(&mut tx, &line(&grant, status, "rewards"), now).await?;
    if matches!(ended, Ended::Granted(_)) {
        app.outbox.write(&mut tx, &fact(app, &grant)?, now).await?;
    }
    tx.commit().await?;
    app.metrics.ended(status, now.duration_since(grant.created_at.to_jiff()));
    Ok(grant)
}

fn line<'a>(grant: &Grant, step: &'a str, actor: &'a str) -> Line<'a> {
    Line {
        subject: grant.id,
        step,
        actor,
        user: grant.user_id,
        detail: json!({
            "what": "grant",
            "kind": grant.kind().as_str_name(),
            "amount": grant.amount,
            "item": grant.item,
            "source": grant.source,
            "external_event_id": grant.external_event_id,
            "campaign_id": grant.campaign,
            "reason": grant.reason,
            "posting_id": grant.posting,
            "refusal": grant.refusal,
        }),
    }
}

fn fact(app: &App, grant: &Grant) -> Result<Facts, Error> {
    let granted = RewardsGranted {
        grant_id: grant.id.to_string(),
        user_id: grant.user_id.to_string(),
        kind: grant.kind().into(),
        amount: grant.amount,
        item: grant.item.clone(),
        reason: grant.reason.clone(),
        source: grant.source.clone(),
        external_event_id: grant.external_event_id.clone(),
        posting_id: grant.posting.map(|id| id.to_string()).unwrap_or_default(),
        occurred_at: grant.ended_at.map(|at| proto_time(at.to_jiff())),
    };
    let mut facts = Facts::new();
    facts.add(&*app.ids, grant.user_id.to_string(), &granted)?;
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(source: &str, event: &str, amount: i64) -> Ask {
        Ask {
            source: source.to_owned(),
            actor: source.to_owned(),
            external_event_id: event.to_owned(),
            user: UserId(Uuid::from_u128(1 << 90)),
            what: What::Gift(Gift { kind: RewardKind::Gold, amount, item: String::new() }),
            reason: "test".to_owned(),
        }
    }

    #[test]
    fn an_event_of_a_source_is_one_grant() {
        assert_eq!(ask("service:scan", "1", 5).id(), ask("service:scan", "1", 6).id());
        assert_ne!(ask("service:scan", "1", 5).id(), ask("service:chat", "1", 5).id());
        assert_ne!(ask("service:scan", "1", 5).id(), ask("service:scan", "2", 5).id());
        assert_ne!(ask("ab", "c", 5).id(), ask("a", "bc", 5).id());
    }

    #[test]
    fn another_body_has_another_hash() {
        let first = ask("service:scan", "1", 5);
        assert_eq!(first.body_hash(), ask("service:chat", "2", 5).body_hash());
        assert_ne!(first.body_hash(), ask("service:scan", "1", 6).body_hash());
        let campaign = Ask { what: What::Campaign("gold".to_owned()), ..first.clone() };
        assert_ne!(first.body_hash(), campaign.body_hash());
        let other = Ask { user: UserId(Uuid::from_u128(2 << 90)), ..first.clone() };
        assert_ne!(first.body_hash(), other.body_hash());
        let by_hand = Ask { source: format!("admin:{}", first.user), ..campaign.clone() };
        let for_another_reason = Ask { reason: "other".to_owned(), ..by_hand.clone() };
        assert_ne!(by_hand.body_hash(), for_another_reason.body_hash());
    }
}
