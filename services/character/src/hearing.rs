//! What others say has happened: scans, rewards, closed accounts.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_db::Transaction;
use coreloop_eventing::{Event, Failure, Handler};
use coreloop_facts::v1::{AuthUserWithdrawn, RewardsGranted, ScanCompleted};
use coreloop_rewards_api::v1::RewardKind;
use jiff::civil::Date;
use uuid::Uuid;

use crate::{
    App, changing,
    collection::Collection,
    granting::{self, Ask, Want},
    store::collections,
};

/// The consumer `character.grants`.
#[derive(Debug)]
pub struct Hearing(pub Arc<App>);

#[async_trait]
impl Handler for Hearing {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        match event.topic.as_str() {
            "events.scan.completed" => self.scanned(tx, event.decode()?).await,
            "events.rewards.granted" => self.rewarded(tx, event.decode()?).await,
            // Any other is refused as none of these.
            _ => self.withdrawn(tx, event.decode()?).await,
        }
    }
}

impl Hearing {
    async fn scanned(&self, tx: &mut Transaction, fact: ScanCompleted) -> Result<(), Failure> {
        if !fact.reward_eligible {
            return Ok(());
        }
        let want = Want::Scan { category: category(fact.category().as_str_name()), day: day(&fact.day)? };
        let (user, source) = (user(&fact.user_id)?, "scan".to_owned());
        self.decide(tx, &Ask { source, event_id: fact.task_id, user, want }).await
    }

    async fn rewarded(&self, tx: &mut Transaction, fact: RewardsGranted) -> Result<(), Failure> {
        if fact.kind() != RewardKind::Character {
            return Ok(());
        }
        // Rewards names things in small letters. Of several one is given: nobody has two of the same.
        let want = Want::Gift { code: fact.item.to_ascii_uppercase(), expires_at: None };
        let (user, source) = (user(&fact.user_id)?, "reward".to_owned());
        self.decide(tx, &Ask { source, event_id: fact.grant_id, user, want }).await
    }

    async fn decide(&self, tx: &mut Transaction, ask: &Ask) -> Result<(), Failure> {
        let decided = granting::decide(&self.0, tx, ask, self.0.clock.now()).await?;
        tracing::debug!(source = ask.source, event = ask.event_id, given = decided.is_ok(), "an event was decided on");
        Ok(())
    }

    async fn withdrawn(&self, tx: &mut Transaction, fact: AuthUserWithdrawn) -> Result<(), Failure> {
        let (app, user, now) = (&self.0, user(&fact.user_id)?, self.0.clock.now());
        if collections::lock(tx, user).await?.closed {
            return Ok(());
        }
        let mut loaded = app.history.load::<Collection>(tx, user).await.map_err(crate::Error::from)?;
        let facts = changing::close(app, tx, &mut loaded, now).await?;
        app.outbox.write(tx, &facts, now).await?;
        Ok(())
    }
}

fn user(text: &str) -> Result<Uuid, Failure> {
    text.parse().map_err(|_| Failure::permanent("MALFORMED_EVENT", "user_id is no UUID"))
}

/// As the catalogue names what the contract of scans calls `CATEGORY_PET`: `pet`.
fn category(name: &str) -> String {
    name.strip_prefix("CATEGORY_").unwrap_or(name).to_ascii_lowercase()
}

/// The number of a day, as `2026-11-22`, from 1970-01-01.
fn day(text: &str) -> Result<i32, Failure> {
    let day: Date = text.parse().map_err(|_| Failure::permanent("MALFORMED_EVENT", "day is none"))?;
    let hours = day.duration_since(Date::constant(1970, 1, 1)).as_hours();
    i32::try_from(hours.div_euclid(24)).map_err(|_| Failure::permanent("MALFORMED_EVENT", "day is none"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn days_follow_each_other() {
        assert_eq!(day("1970-01-01").unwrap(), 0);
        assert_eq!(day("1970-01-02").unwrap(), 1);
        assert_eq!(day("2026-03-01").unwrap() - day("2026-02-28").unwrap(), 1);
        for none in ["", "2026-02-30", "yesterday", "2026-11-22T00:00:00Z[UTC]x"] {
            assert_eq!(day(none).unwrap_err().reason(), "MALFORMED_EVENT", "{none}");
        }
    }

    #[test]
    fn categories_are_called_as_in_the_catalogue() {
        assert_eq!((category("CATEGORY_PAPERPACK").as_str(), category("CATEGORY_CAN").as_str()), ("paperpack", "can"));
    }
}
