//! Events of others that may give a character: each is decided on once, for ever, and told either way.

use aws_lc_rs::digest;
use coreloop_eventing::Facts;
use coreloop_facts::v1::CharacterAcquireFailed;
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    changing::{self, Coming},
    collection::Collection,
    condition::Counters,
    metrics::ReasonLabels,
    rules::{self, Refusal},
    store::{catalogue, collections, counters, grants},
    times::proto_time,
};

/// Something has happened for which a user may be given a character.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Whose event: `scan`, `reward`, `campaign:<machine>`.
    pub source: String,
    /// Which, among those of the source.
    pub event_id: String,
    /// Who may get one.
    pub user: Uuid,
    /// What for.
    pub want: Want,
}

/// What a user may be given a character for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// A scan: whichever its category grants.
    Scan {
        /// As the catalogue names it.
        category: String,
        /// Day of UTC, from 1970-01-01.
        day: i32,
    },
    /// A gift: that one.
    Gift {
        /// Which.
        code: String,
        /// Until when; none: for good.
        expires_at: Option<Timestamp>,
    },
}

impl Ask {
    /// SHA-256 of what is asked. A scan is one by its id: what it showed may be told again in other words.
    #[must_use]
    pub fn body_hash(&self) -> [u8; 32] {
        let user = self.user.to_string();
        match &self.want {
            Want::Scan { .. } => sha(&["scan", &user]),
            Want::Gift { code, expires_at } => {
                let until = expires_at.map(|at| at.as_microsecond().to_string()).unwrap_or_default();
                sha(&["gift", &user, code, &until])
            }
        }
    }

    /// As facts say where a character came from.
    fn word(&self) -> &str {
        self.source.split(':').next().unwrap_or_default()
    }

    fn code(&self) -> &str {
        match &self.want {
            Want::Scan { .. } => "",
            Want::Gift { code, .. } => code,
        }
    }
}

/// SHA-256 over parts, each with its length: none can be read as another's end.
fn sha(parts: &[&str]) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finish().as_ref().first_chunk::<32>().copied().unwrap_or_default()
}

/// Decides, in the transaction of `connection`, which the caller commits whatever was decided: the code of what was given, or why
/// nothing was. What was decided before is answered again, and nothing happens.
///
/// # Errors
/// [`Error::KeyReused`] for an event that was another; when the database fails.
pub async fn decide(
    app: &App,
    connection: &mut PgConnection,
    ask: &Ask,
    now: Timestamp,
) -> Result<Result<String, Refusal>, Error> {
    let standing = collections::lock(connection, ask.user).await?;
    if standing.closed {
        // Nothing is written of somebody who is gone, so that nothing has to be forgotten.
        return Ok(Err(coreloop_character_api::v1::CharacterReason::UserWithdrawn.into()));
    }
    if !grants::claim(connection, ask, now).await? {
        return known(connection, ask).await;
    }
    let counted = count(connection, ask, standing.longest_streak).await?;
    let shelf = catalogue::all(&mut *connection, &app.schema).await?;
    let mut loaded = app.history.load::<Collection>(connection, ask.user).await?;
    let most = app.options.most();
    let chosen = match &ask.want {
        Want::Scan { category, .. } => rules::by_scan(&shelf, loaded.state(), &counted, category, most),
        Want::Gift { code, .. } => rules::given(&shelf, loaded.state(), code, most),
    };
    let (facts, outcome) = match chosen {
        Ok(character) => {
            let expires_at = match &ask.want {
                Want::Scan { .. } => None,
                Want::Gift { expires_at, .. } => *expires_at,
            };
            let coming = Coming { code: &character.code, source: ask.word(), event_id: &ask.event_id, expires_at };
            (changing::acquire(app, connection, &mut loaded, &coming, now).await?, Ok(character.code.clone()))
        }
        Err(refusal) => (failed(app, ask, refusal, now)?, Err(refusal)),
    };
    let refusal = outcome.as_ref().err().map(Refusal::word).unwrap_or_default();
    grants::settle(connection, ask, outcome.as_deref().unwrap_or_default(), &refusal).await?;
    app.outbox.write(connection, &facts, now).await?;
    Ok(outcome)
}

/// What was decided before.
async fn known(connection: &mut PgConnection, ask: &Ask) -> Result<Result<String, Refusal>, Error> {
    let known = grants::find(connection, ask).await?.ok_or(Error::Corrupt("a grant that is there and is not"))?;
    if known.user_id != ask.user || known.body_hash != ask.body_hash() {
        return Err(Error::KeyReused);
    }
    Ok(if known.refusal.is_empty() { Ok(known.code) } else { Err(Refusal::of(&known.refusal)) })
}

/// Counts what is asked for, and answers what has been counted; of a gift nothing is counted, and nobody asks.
async fn count(connection: &mut PgConnection, ask: &Ask, longest: i32) -> Result<Counters, Error> {
    let Want::Scan { category, day } = &ask.want else { return Ok(Counters::default()) };
    counters::add(connection, ask.user, category).await?;
    let mut longest = longest;
    if counters::add_day(connection, ask.user, *day).await? {
        longest = counters::longest(connection, ask.user).await?;
        collections::streak(connection, ask.user, longest).await?;
    }
    Ok(counters::of(connection, ask.user, longest).await?)
}

fn failed(app: &App, ask: &Ask, refusal: Refusal, now: Timestamp) -> Result<Facts, Error> {
    let fact = CharacterAcquireFailed {
        user_id: ask.user.to_string(),
        code: ask.code().to_owned(),
        reason: refusal.word(),
        source: ask.word().to_owned(),
        source_event_id: ask.event_id.clone(),
        occurred_at: Some(proto_time(now)),
    };
    let mut facts = Facts::new();
    facts.add(&*app.ids, ask.user.to_string(), &fact)?;
    app.metrics.refused.get_or_create(&ReasonLabels { reason: refusal.word() }).inc();
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gift(code: &str, expires_at: Option<Timestamp>) -> Ask {
        let want = Want::Gift { code: code.to_owned(), expires_at };
        Ask { source: "campaign:spring".to_owned(), event_id: "1".to_owned(), user: Uuid::from_u128(7), want }
    }

    #[test]
    fn a_gift_is_what_it_gives_and_a_scan_is_its_id() {
        assert_eq!(gift("A", None).body_hash(), gift("A", None).body_hash());
        assert_ne!(gift("A", None).body_hash(), gift("B", None).body_hash());
        assert_ne!(gift("A", None).body_hash(), gift("A", Some(Timestamp::UNIX_EPOCH)).body_hash());
        let other = Ask { user: Uuid::from_u128(8), ..gift("A", None) };
        assert_ne!(gift("A", None).body_hash(), other.body_hash());
        let scan =
            |category: &str, day| Ask { want: Want::Scan { category: category.to_owned(), day }, ..gift("A", None) };
        assert_eq!(scan("pet", 1).body_hash(), scan("can", 2).body_hash());
        assert_eq!((gift("A", None).word(), gift("A", None).code(), scan("pet", 1).code()), ("campaign", "A", ""));
    }
}
