//! Ads: a click is worth something once, by a token that this service signed for that user and that ad a little while ago.
//!
//! A token says its own id, who may use it, for what and until when, under an HMAC-SHA256; nothing is kept of one that nobody
//! uses. Which click is worth something the database decides: a token once, an ad once a day, and the points of a day up to
//! the cap. The points are promised in the same transaction and given as every grant is.

use aws_lc_rs::hmac;
use coreloop_core::UserId;
use coreloop_eventing::Facts;
use coreloop_facts::v1::RewardsAdClicked;
use coreloop_rewards_api::v1::{RewardKind, RewardsReason};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    App, Error,
    grants::{self, Ask, Gift, What},
    store::{
        ads::{self, Ad, Click},
        grants::Grant,
    },
    times::proto_time,
};

/// Longest token that is looked at, in bytes.
const LONGEST: usize = 512;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its own id: it is used once.
    pub id: Uuid,
    /// Who may use it.
    pub user: UserId,
    /// Unix seconds from which it is over.
    pub expires: i64,
    /// For which ad.
    pub ad: String,
}

impl Token {
    /// Signs it.
    #[must_use]
    pub fn sign(&self, key: &hmac::Key) -> String {
        let mut said = Vec::with_capacity(40 + self.ad.len());
        said.extend_from_slice(self.id.as_bytes());
        said.extend_from_slice(self.user.0.as_bytes());
        said.extend_from_slice(&self.expires.to_be_bytes());
        said.extend_from_slice(self.ad.as_bytes());
        let tag = hmac::sign(key, &said);
        format!("{}.{}", hex::encode(&said), hex::encode(tag))
    }

    /// Reads one that was signed with `key`; none for anything else.
    #[must_use]
    pub fn read(key: &hmac::Key, text: &str) -> Option<Self> {
        let (said, tag) = text.split_once('.').filter(|_| text.len() <= LONGEST)?;
        let (said, tag) = (hex::decode(said).ok()?, hex::decode(tag).ok()?);
        hmac::verify(key, &said, &tag).ok()?;
        let (id, rest) = said.split_first_chunk::<16>()?;
        let (user, rest) = rest.split_first_chunk::<16>()?;
        let (expires, ad) = rest.split_first_chunk::<8>()?;
        Some(Self {
            id: Uuid::from_bytes(*id),
            user: UserId(Uuid::from_bytes(*user)),
            expires: i64::from_be_bytes(*expires),
            ad: String::from_utf8(ad.to_vec()).ok()?,
        })
    }
}

/// The day of a time.
#[must_use]
pub fn day(now: Timestamp) -> i32 {
    i32::try_from(now.as_second().div_euclid(86_400)).unwrap_or(i32::MAX)
}

/// A token for `user` and `ad`, good for a little while.
#[must_use]
pub fn token(app: &App, user: UserId, ad: &str) -> (String, i64) {
    let expires = app.clock.unix() + i64::from(app.options.ad_token_secs);
    let token = Token { id: app.ids.uuid(), user, expires, ad: ad.to_owned() };
    (app.vault.sign(&token), expires)
}

/// What a click came to.
#[derive(Debug)]
pub struct Clicked {
    /// What it was worth.
    pub ad: Ad,
    /// Points of the day so far.
    pub today: i64,
    /// Slots unlocked for the day so far.
    pub slots: i32,
    /// The promise of the points, where it was worth some.
    pub grant: Option<Grant>,
}

/// A click of `user` on `ad` with a token.
///
/// # Errors
/// Why it is worth nothing; when the database fails.
pub async fn click(app: &App, user: UserId, ad: &str, token: &str) -> Result<Clicked, Error> {
    let token = app.vault.read(token).ok_or(RewardsReason::AdTokenInvalid)?;
    if token.user != user || token.ad != ad {
        return Err(RewardsReason::AdTokenInvalid.into());
    }
    let now = app.clock.now();
    if token.expires <= now.as_second() {
        return Err(RewardsReason::AdTokenExpired.into());
    }
    let mut clicked = write(app, &token, now).await.map_err(|error| match error.taken().as_deref() {
        Some("ad_clicks_pkey") => RewardsReason::AdTokenUsed.into(),
        Some("ad_clicks_user_ad_day_key") => RewardsReason::AdAlreadyRewarded.into(),
        _ => error,
    })?;
    if let Some(grant) = clicked.grant.take() {
        // A wallet that is full does not undo the click; the grant says what became of it.
        clicked.grant = match grants::finish(app, grant.clone()).await {
            Ok(grant) => Some(grant),
            Err(Error::Refused(_)) => crate::store::grants::by_id(&app.db, grant.id).await?,
            // The click is written, and its token used: the recovery gives what is promised.
            Err(error) => {
                tracing::warn!(%error, grant_id = %grant.id, "the points of a click are given later");
                Some(grant)
            }
        };
    }
    Ok(clicked)
}

async fn write(app: &App, token: &Token, now: Timestamp) -> Result<Clicked, Error> {
    let (user, today) = (token.user, day(now));
    let mut tx = coreloop_db::begin(&app.db).await?;
    let ad = ads::offered(&mut *tx, &token.ad, now).await?.ok_or(RewardsReason::AdNotFound)?;
    let click = Click { token: token.id, user_id: user.0, ad: &ad, day: today };
    ads::insert_click(&mut tx, &click, now).await?;
    let points = ads::add_points(&mut tx, &click, app.options.ad_daily_points).await?;
    let points = points.ok_or(RewardsReason::AdDailyCap)?;
    let slots = ads::unlock(&mut tx, &click).await?;
    let grant = if ad.points > 0 {
        let ask = Ask {
            source: "ads".to_owned(),
            actor: format!("user:{user}"),
            external_event_id: token.id.to_string(),
            user,
            what: What::Gift(Gift { kind: RewardKind::Point, amount: ad.points, item: String::new() }),
            reason: format!("ad.{}", ad.id),
        };
        grants::promise_within(app, &mut tx, &ask, now).await?
    } else {
        None
    };
    let fact = RewardsAdClicked {
        user_id: user.to_string(),
        ad_id: ad.id.clone(),
        points: ad.points,
        slots: ad.slots,
        slots_today: slots,
        occurred_at: Some(proto_time(now)),
    };
    let mut facts = Facts::new();
    facts.add(&*app.ids, user.to_string(), &fact)?;
    app.outbox.write(&mut tx, &facts, now).await?;
    tx.commit().await?;
    Ok(Clicked { ad, today: points, slots, grant })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn key(byte: u8) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32])
    }

    fn sample() -> Token {
        Token { id: Uuid::from_u128(7), user: UserId(Uuid::from_u128(9)), expires: 1_000, ad: "ad-1".to_owned() }
    }

    #[test]
    fn a_token_says_what_was_signed_and_nothing_else_is_one() {
        let signed = sample().sign(&key(1));
        assert_eq!(Token::read(&key(1), &signed), Some(sample()));
        assert_eq!(Token::read(&key(2), &signed), None);
        for place in 0..signed.len() {
            let mut forged = signed.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_ne!(Token::read(&key(1), &forged), Some(Token { ad: "ad-2".to_owned(), ..sample() }));
            assert!(Token::read(&key(1), &forged).is_none_or(|read| read == sample()), "{place}");
        }
        for nothing in ["", ".", "a.b", &"a".repeat(600), &format!("{signed}.x")] {
            assert_eq!(Token::read(&key(1), nothing), None, "{nothing}");
        }
    }

    #[test]
    fn days_begin_at_midnight() {
        let at = |seconds| day(Timestamp::from_second(seconds).unwrap());
        assert_eq!((at(0), at(86_399), at(86_400), at(-1)), (0, 0, 1, -1));
    }
}
