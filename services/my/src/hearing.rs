//! What others say has happened: scans, characters, visits, photos that are gone, closed accounts.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_db::Transaction;
use coreloop_eventing::{Event, Failure, Handler};
use coreloop_facts::v1::{
    AuthUserWithdrawn, CharacterAcquired, CharacterEvolved, CharacterLost, ImageDeleted, LocationVisited, ScanCompleted,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    App, collecting,
    counting::{self, Scan},
    leaving,
    person::{Moved, Visited, What},
    profiles,
    times::{of_fact, parse_day},
    visiting,
};

/// The consumer `my.facts`.
#[derive(Debug)]
pub struct Hearing(pub Arc<App>);

#[async_trait]
impl Handler for Hearing {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        let (app, now) = (&self.0, self.0.now());
        let done = match event.topic.as_str() {
            "events.scan.completed" => {
                let fact: ScanCompleted = event.decode()?;
                match scan(&fact, event.created_at)? {
                    Some(scan) => counting::count(app, tx, &scan, now).await?,
                    None => false,
                }
            }
            "events.character.acquired" => {
                let fact: CharacterAcquired = event.decode()?;
                let at = of_fact(fact.occurred_at.as_ref()).unwrap_or(event.created_at);
                let moved = moved(What::Acquired, (fact.code, 1), (Some(fact.owned_count), fact.version), at)?;
                collecting::note(app, tx, (user(&fact.user_id)?, moved), now).await?
            }
            "events.character.lost" => {
                let fact: CharacterLost = event.decode()?;
                let at = of_fact(fact.occurred_at.as_ref()).unwrap_or(event.created_at);
                let moved = moved(What::Lost, (fact.code, 0), (Some(fact.owned_count), fact.version), at)?;
                collecting::note(app, tx, (user(&fact.user_id)?, moved), now).await?
            }
            "events.character.evolved" => {
                let fact: CharacterEvolved = event.decode()?;
                let at = of_fact(fact.occurred_at.as_ref()).unwrap_or(event.created_at);
                let moved = moved(What::Evolved, (fact.code, fact.level), (None, fact.version), at)?;
                collecting::note(app, tx, (user(&fact.user_id)?, moved), now).await?
            }
            "events.location.visited" => {
                let fact: LocationVisited = event.decode()?;
                visiting::note(app, tx, (user(&fact.user_id)?, visited(&fact, event.created_at)?), now).await?
            }
            "events.image.deleted" => {
                let fact: ImageDeleted = event.decode()?;
                let gone = (user(&fact.user_id)?, id("image_id", &fact.image_id)?);
                profiles::unpicture(app, tx, gone, now).await?
            }
            // Any other is refused as none of these.
            _ => {
                let fact: AuthUserWithdrawn = event.decode()?;
                leaving::close(app, tx, user(&fact.user_id)?, now).await?
            }
        };
        tracing::debug!(topic = event.topic.as_str(), done, "an event was heard");
        Ok(())
    }
}

/// The scan that counts; none where it earns nothing.
fn scan(fact: &ScanCompleted, written: Timestamp) -> Result<Option<Scan>, Failure> {
    if !fact.reward_eligible {
        return Ok(None);
    }
    let malformed = |what: &str| Failure::permanent("MALFORMED_EVENT", what.to_owned());
    if fact.task_id.is_empty() {
        return Err(malformed("task_id is empty"));
    }
    Ok(Some(Scan {
        user: user(&fact.user_id)?,
        task_id: fact.task_id.clone(),
        category: category(fact.category().as_str_name()),
        day: parse_day(&fact.day).ok_or_else(|| malformed("day is none"))?,
        recyclable: fact.recyclable,
        at: of_fact(fact.occurred_at.as_ref()).unwrap_or(written),
    }))
}

fn moved(
    what: What,
    (code, level): (String, i32),
    (owned, version): (Option<i32>, i64),
    at: Timestamp,
) -> Result<Moved, Failure> {
    if version < 1 || owned.is_some_and(|owned| owned < 0) {
        return Err(Failure::permanent("MALFORMED_EVENT", "the collection makes no sense"));
    }
    Ok(Moved { what, code, level, owned, version, at: at.as_microsecond() })
}

/// The visit as it is kept: ids in one writing, however they were told.
fn visited(fact: &LocationVisited, written: Timestamp) -> Result<Visited, Failure> {
    Ok(Visited {
        visit_id: id("visit_id", &fact.visit_id)?.to_string(),
        shop_id: id("shop_id", &fact.shop_id)?.to_string(),
        at: of_fact(fact.occurred_at.as_ref()).unwrap_or(written).as_microsecond(),
    })
}

/// The id of a user that a fact names.
///
/// # Errors
/// When it is none: trying again would not help.
pub fn user(text: &str) -> Result<Uuid, Failure> {
    id("user_id", text)
}

fn id(field: &str, text: &str) -> Result<Uuid, Failure> {
    text.parse().map_err(|_| Failure::permanent("MALFORMED_EVENT", format!("{field} is no UUID")))
}

/// What the contract of scans calls `CATEGORY_PET`: `pet`.
fn category(name: &str) -> String {
    name.strip_prefix("CATEGORY_").unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn fact() -> ScanCompleted {
        ScanCompleted {
            task_id: "7".to_owned(),
            user_id: Uuid::from_u128(7).to_string(),
            category: 5,
            recyclable: true,
            reward_eligible: true,
            day: "1970-01-03".to_owned(),
            ..ScanCompleted::default()
        }
    }

    #[test]
    fn a_scan_that_earns_something_counts_on_its_day() {
        let read = scan(&fact(), Timestamp::UNIX_EPOCH).unwrap().unwrap();
        assert_eq!(
            (read.category.as_str(), read.day, read.recyclable, read.at),
            ("pet", 2, true, Timestamp::UNIX_EPOCH)
        );
        let poor = ScanCompleted { reward_eligible: false, day: "never".to_owned(), ..fact() };
        assert!(scan(&poor, Timestamp::UNIX_EPOCH).unwrap().is_none());
    }

    #[test]
    fn what_makes_no_sense_is_a_dead_letter_at_once() {
        let wrong = [
            ScanCompleted { day: "2026-02-30".to_owned(), ..fact() },
            ScanCompleted { user_id: "alice".to_owned(), ..fact() },
            ScanCompleted { task_id: String::new(), ..fact() },
        ];
        for wrong in wrong {
            let failure = scan(&wrong, Timestamp::UNIX_EPOCH).unwrap_err();
            assert!(matches!(&failure, Failure::Permanent { reason, .. } if reason == "MALFORMED_EVENT"), "{failure}");
        }
        let at = Timestamp::UNIX_EPOCH;
        assert!(moved(What::Lost, ("CHR001".to_owned(), 0), (Some(-1), 1), at).is_err());
        assert!(moved(What::Lost, ("CHR001".to_owned(), 0), (Some(0), 0), at).is_err());
        assert!(moved(What::Lost, ("CHR001".to_owned(), 0), (Some(0), 1), at).is_ok());
    }

    #[test]
    fn a_visit_is_of_a_shop_that_has_an_id() {
        let at = Timestamp::from_second(7).unwrap();
        let (visit, shop) = (Uuid::from_u128(1).to_string(), Uuid::from_u128(2).to_string());
        let fact =
            LocationVisited { visit_id: visit.clone(), shop_id: shop.to_uppercase(), ..LocationVisited::default() };
        assert_eq!(visited(&fact, at).unwrap(), Visited { visit_id: visit, shop_id: shop, at: 7_000_000 });
        assert!(visited(&LocationVisited { shop_id: "corner".to_owned(), ..fact.clone() }, at).is_err());
        assert!(visited(&LocationVisited { visit_id: String::new(), ..fact }, at).is_err());
    }
}
