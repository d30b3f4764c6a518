//! What others say, as messages to whom it concerns.
//!
//! The writer acts outside of a transaction and may act again: [`Log::say`] does it once by the event's id. An event that comes
//! later than the log is kept is not said: whoever is there, or resumes, begins anew once instead.
//!
//! `wallet.posted` alone tells of balances: the wallet says each change of an account in its order. What other facts know of a
//! balance (`shop.purchase_completed`) travels beside it and may come after what is newer.
//!
//! [`Log::say`]: crate::log::Log::say

mod play;

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_core::UserId;
use coreloop_eventing::{Consumer, Error, Event, Failure, PassingHandler, Topic};
use coreloop_facts::v1;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    App,
    hub::listen::ACTS,
    log::{Fault, LogError},
    message::{Kind, Said},
};

/// What a fact means.
enum Meaning {
    /// Messages to a user.
    To(String, Vec<(Kind, Vec<u8>)>),
    /// What an administrator did.
    Act(v1::AdminActed),
    /// The account of this user is closed: nothing of them is to be kept.
    Gone(String),
}

/// A fact that concerns somebody.
trait Tells {
    /// What it means.
    fn means(self) -> Meaning;
}

/// Messages of one kind each, as the contract has them.
fn typed(kind: Kind, message: &impl prost::Message) -> (Kind, Vec<u8>) {
    (kind, message.encode_to_vec())
}

macro_rules! hears {
    ($($fact:ident)*) => {
        /// The consumer, hearing every fact that means something to somebody.
        ///
        /// # Errors
        /// A fact that names no topic.
        pub fn hearing(consumer: Consumer) -> Result<Consumer, Error> {
            $(let consumer = consumer.hears::<v1::$fact>()?;)*
            Ok(consumer)
        }

        fn meaning(event: &Event) -> Result<Meaning, Failure> {
            $(
                if event.topic == Topic::of::<v1::$fact>()? {
                    return Ok(event.decode::<v1::$fact>()?.means());
                }
            )*
            Err(Failure::permanent("WRONG_TOPIC", format!("{} means nothing to anybody", event.topic)))
        }
    };
}

hears! {
    AdminActed
    AuthUserWithdrawn
    CharacterAcquired
    MyBadgeEarned
    MyFootprintMoved
    MyProfileUpdated
    MyStreakMoved
    NotificationCreated
    RewardsGranted
    ScanCompleted
    ScanFailed
    ShopPurchaseCompleted
    ShopPurchaseFailed
    ShopPurchaseRequested
    ShopSettlementConfirmed
    ShopSettlementVoided
    WalletPosted
}

/// Says what is heard.
#[derive(Debug)]
pub struct Writer(pub Arc<App>);

#[async_trait]
impl PassingHandler for Writer {
    async fn act(&self, event: &Event) -> Result<(), Failure> {
        match meaning(event)? {
            Meaning::Act(acted) => self.acted(&acted).await,
            Meaning::To(user, messages) => self.tell(event, &user, messages).await,
            Meaning::Gone(user) => self.0.log.forget(id(&user)?).await.map_err(failed),
        }
    }
}

impl Writer {
    async fn tell(&self, event: &Event, user: &str, messages: Vec<(Kind, Vec<u8>)>) -> Result<(), Failure> {
        let user = id(user)?;
        let said = messages
            .into_iter()
            .map(|(kind, message)| said(kind, &message, event.created_at))
            .collect::<Result<Vec<_>, _>>()?;
        let app = &self.0;
        let age = app.clock.now().duration_since(event.created_at).as_secs();
        let old = age > i64::try_from(app.options.keep_secs).unwrap_or(i64::MAX);
        app.log.say(user, event.id, &said, old).await.map_err(failed)?;
        Ok(())
    }

    /// An act may be told twice: who watches has the audit of ops for what counts.
    async fn acted(&self, acted: &v1::AdminActed) -> Result<(), Failure> {
        let at = acted.occurred_at.as_ref().map_or(0, |at| at.seconds);
        let told = json!({
            "act": acted.act, "actor_user_id": acted.actor_user_id, "subject": acted.subject, "reason": acted.reason,
            "at": at,
        });
        self.0.log.publish(ACTS, &told.to_string()).await.map_err(failed)
    }
}

fn id(user: &str) -> Result<UserId, Failure> {
    user.parse().map_err(|_| Failure::permanent("MALFORMED_EVENT", "the user of the event is no id"))
}

/// Redis is this service's own store: while it is away the event waits, and nothing is counted.
fn failed(error: LogError) -> Failure {
    let told = error.to_string();
    match error.lies_in() {
        Fault::Redis => Failure::away("LOG_AWAY", told),
        Fault::Keys => Failure::permanent("LOG_REFUSED", told),
        Fault::Unknown => Failure::retryable("LOG_REFUSED", told),
    }
}

/// A message as it stands in the log: what the contract says, as JSON.
fn said(kind: Kind, message: &[u8], timestamp: Timestamp) -> Result<Said, Failure> {
    let json = coreloop_transcode::message::to_json(kind.described_by(), message)?;
    let data: Map<String, Value> =
        serde_json::from_slice(&json).map_err(|error| Failure::permanent("MALFORMED_EVENT", error.to_string()))?;
    Ok(Said { kind, data, timestamp })
}

impl Tells for v1::AdminActed {
    fn means(self) -> Meaning {
        Meaning::Act(self)
    }
}

impl Tells for v1::AuthUserWithdrawn {
    fn means(self) -> Meaning {
        Meaning::Gone(self.user_id)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use coreloop_facts::v1;

    use super::*;

    fn told(fact: impl Tells) -> (String, Vec<Said>) {
        let Meaning::To(user, messages) = fact.means() else { panic!("it is to nobody") };
        let said = messages.iter().map(|(kind, message)| said(*kind, message, Timestamp::UNIX_EPOCH).unwrap());
        (user, said.collect())
    }

    #[test]
    fn a_posting_is_a_balance_and_a_purchase_is_how_far_it_is() {
        let posted = v1::WalletPosted {
            user_id: "7".to_owned(),
            currency: coreloop_wallet_api::v1::Currency::Gold.into(),
            delta: -5,
            balance_after: 95,
            ..Default::default()
        };
        let (user, messages) = told(posted);
        assert_eq!((user.as_str(), messages[0].kind), ("7", Kind::ProfileUpdate));
        assert_eq!(messages[0].data["changes"]["gold"].as_f64(), Some(95.0));
        let granted = v1::RewardsGranted {
            kind: coreloop_rewards_api::v1::RewardKind::Point.into(),
            amount: 30,
            ..Default::default()
        };
        let (_, messages) = told(granted);
        let data = Value::Object(messages[0].data.clone());
        assert_eq!((&data["reward_type"], &data["amount"]), (&json!("POINT"), &json!(30)));
        assert!(data.get("balance_after").is_none_or(Value::is_null), "nobody knows it here: {data}");
        let (_, messages) = told(v1::ShopPurchaseRequested::default());
        assert!(messages.is_empty(), "a fact without its message says nothing");
        let badge = v1::MyBadgeEarned { user_id: "7".to_owned(), code: "week".to_owned(), ..Default::default() };
        let (user, messages) = told(badge);
        let data = Value::Object(messages[0].data.clone());
        assert_eq!((user.as_str(), &data["achievement_code"], &data["unlocked"]), ("7", &json!("week"), &json!(true)));
        assert_eq!(data["progress"].as_f64(), Some(1.0));
    }

    #[test]
    fn what_is_away_comes_back_and_what_is_refused_does_not() {
        let io = || LogError::Redis(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
        let refused = |line: &str| {
            let answer = redis::parse_redis_value(format!("{line}\r\n").as_bytes()).unwrap();
            failed(LogError::Redis(answer.extract_error().unwrap_err()))
        };
        for away in [failed(LogError::Late), failed(io())] {
            assert!(matches!(&away, Failure::Away { reason, .. } if reason == "LOG_AWAY"), "{away:?}");
        }
        for line in ["-LOADING x", "-MASTERDOWN x", "-READONLY x", "-OOM x", "-MISCONF x", "-NOPERM x", "-BUSY x"] {
            let failure = refused(line);
            assert!(matches!(failure, Failure::Away { .. }), "{line}: {failure:?}");
        }
        let failure = refused("-WRONGTYPE x");
        assert!(matches!(&failure, Failure::Permanent { reason, .. } if reason == "LOG_REFUSED"), "{failure:?}");
        let failure = refused("-ERR user_script:1: x");
        assert!(matches!(&failure, Failure::Retryable { reason, .. } if reason == "LOG_REFUSED"), "{failure:?}");
    }

    #[test]
    fn every_kind_is_said_by_somebody_or_is_named_as_not_yet() {
        let said: BTreeSet<&str> = [
            told(v1::WalletPosted { currency: coreloop_wallet_api::v1::Currency::Point.into(), ..Default::default() }),
            told(v1::RewardsGranted::default()),
            told(v1::MyBadgeEarned::default()),
            told(v1::MyStreakMoved::default()),
            told(v1::MyFootprintMoved::default()),
            told(v1::NotificationCreated::default()),
            told(v1::ScanCompleted::default()),
            told(v1::ShopPurchaseRequested { purchase_update: Some(Default::default()), ..Default::default() }),
        ]
        .iter()
        .flat_map(|(_, messages)| messages.iter().map(|said| said.kind.name()))
        .collect();
        // Made where a socket is opened; of domains that come with the play app.
        let not_yet = [
            "sync_connected",
            "initial_state",
            "stats_update",
            "user_action",
            "mission_update",
            "event_progress",
            "crash_round",
        ];
        let all: BTreeSet<&str> = Kind::ALL.map(Kind::name).into();
        assert_eq!(said.union(&not_yet.into()).copied().collect::<BTreeSet<_>>(), all);
    }
}
