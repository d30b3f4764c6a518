//! What others say has happened: what of it somebody is told, and in which words; whoever leaves takes everything along.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_db::Transaction;
use coreloop_eventing::{Event, Failure, Handler};
use coreloop_facts::v1::{
    AuthUserWithdrawn, CharacterAcquireFailed, CharacterAcquired, MyProfileUpdated, RewardsRedemptionFailed,
    RewardsRedemptionIssued, ScanFailed, ShopSettlementConfirmed, ShopSettlementVoided,
};
use coreloop_notification_api::v1::NotificationKind as Kind;
use uuid::Uuid;

use crate::{
    App,
    store::people,
    telling::{Source, Telling, tell},
    text::Params,
};

/// Longest value that is kept of a fact, in letters: all of them together fit into a push.
const LONGEST: usize = 200;

/// The consumer `notification.facts`.
#[derive(Debug)]
pub struct Hearing(pub Arc<App>);

#[async_trait]
impl Handler for Hearing {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        if event.topic.as_str() == "events.auth.user_withdrawn" {
            let fact: AuthUserWithdrawn = event.decode()?;
            let user = user(&fact.user_id)?;
            people::lock(tx, user).await?;
            people::close(tx, user).await?;
            return Ok(());
        }
        let Some(telling) = telling(event)? else { return Ok(()) };
        let told = tell(&self.0, tx, Source { id: event.id, at: event.created_at }, &telling).await?;
        tracing::debug!(notification_id = ?told, event_id = %event.id, template = telling.template, "an event was heard");
        Ok(())
    }
}

/// What somebody is told of an event; none where it is nothing to them.
///
/// # Errors
/// An event that is none.
pub fn telling(event: &Event) -> Result<Option<Telling>, Failure> {
    Ok(match event.topic.as_str() {
        "events.character.acquired" => Some(acquired(event.decode()?)?),
        "events.character.acquire_failed" => not_acquired(event.decode()?)?,
        "events.my.profile_updated" => Some(changed(event.decode()?)?),
        "events.scan.failed" => unseen(event.decode()?)?,
        "events.rewards.redemption_issued" => Some(issued(event.decode()?)?),
        "events.rewards.redemption_failed" => Some(not_issued(event.decode()?)?),
        "events.shop.settlement_confirmed" => Some(settled(event.decode()?)?),
        // Any other is refused as none of these.
        _ => Some(voided(event.decode()?)?),
    })
}

fn acquired(fact: CharacterAcquired) -> Result<Telling, Failure> {
    let params = params([("code", fact.code), ("source", fact.source), ("owned_count", fact.owned_count.to_string())]);
    of(&fact.user_id, Kind::CharacterAcquired, "character.acquired", params)
}

/// A scan whose category grants nothing yet is no failure; one of what somebody has is told without a push, for it may be every scan.
fn not_acquired(fact: CharacterAcquireFailed) -> Result<Option<Telling>, Failure> {
    let template = match fact.reason.as_str() {
        "condition_not_met" => return Ok(None),
        "max_characters_reached" => "character.full",
        "already_owned" => "character.owned",
        _ => "character.failed",
    };
    let pushed = !(fact.source == "scan" && fact.reason == "already_owned");
    let params = params([("code", fact.code), ("reason", fact.reason), ("source", fact.source)]);
    let telling = of(&fact.user_id, Kind::CharacterAcquireFailed, template, params)?;
    Ok(Some(Telling { pushed, ..telling }))
}

fn changed(fact: MyProfileUpdated) -> Result<Telling, Failure> {
    let params = params([("changed", fact.changed.join(","))]);
    of(&fact.user_id, Kind::ProfileUpdated, "profile.updated", params)
}

/// Whoever has removed a photo need not be told that nothing was found in it.
fn unseen(fact: ScanFailed) -> Result<Option<Telling>, Failure> {
    if fact.reason == "IMAGE_GONE" {
        return Ok(None);
    }
    let params = params([("task_id", fact.task_id), ("image_id", fact.image_id), ("reason", fact.reason)]);
    of(&fact.user_id, Kind::ScanFailed, "scan.failed", params).map(Some)
}

fn issued(fact: RewardsRedemptionIssued) -> Result<Telling, Failure> {
    let params = params([("redemption_id", fact.redemption_id), ("sku", fact.sku)]);
    of(&fact.user_id, Kind::RedemptionIssued, "redemption.issued", params)
}

fn not_issued(fact: RewardsRedemptionFailed) -> Result<Telling, Failure> {
    let returned = !fact.returned_posting_id.is_empty();
    let template = if returned { "redemption.returned" } else { "redemption.failed" };
    let params = params([("redemption_id", fact.redemption_id), ("sku", fact.sku), ("reason", fact.reason)]);
    of(&fact.user_id, Kind::RedemptionFailed, template, params)
}

fn settled(fact: ShopSettlementConfirmed) -> Result<Telling, Failure> {
    let update = fact.purchase_update.unwrap_or_default();
    let params = params([
        ("transaction_id", update.transaction_id),
        ("product_id", update.product_id),
        ("gold", update.gold_delta.to_string()),
    ]);
    of(&fact.user_id, Kind::PurchaseSettled, "purchase.settled", params)
}

fn voided(fact: ShopSettlementVoided) -> Result<Telling, Failure> {
    let update = fact.purchase_update.unwrap_or_default();
    let template = if fact.owed > 0 { "purchase.owed" } else { "purchase.voided" };
    let params = params([
        ("transaction_id", update.transaction_id),
        ("product_id", update.product_id),
        ("owed", fact.owed.to_string()),
    ]);
    of(&fact.user_id, Kind::PurchaseVoided, template, params)
}

fn of(user_id: &str, kind: Kind, template: &'static str, params: Params) -> Result<Telling, Failure> {
    Ok(Telling { user: user(user_id)?, kind, template, params, pushed: true })
}

/// What is not empty, and no longer than a push can carry.
fn params<const N: usize>(of: [(&str, String); N]) -> Params {
    let short = |text: String| text.chars().take(LONGEST).collect::<String>();
    of.into_iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name.to_owned(), short(text))).collect()
}

fn user(text: &str) -> Result<Uuid, Failure> {
    text.parse().map_err(|_| Failure::permanent("MALFORMED_EVENT", "user_id is no UUID"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use coreloop_facts::coreloop::shop::v1::PurchaseUpdate;

    use super::*;
    use crate::text::{Language, render};

    const USER: &str = "01890000-0000-7000-8000-000000000001";

    fn me() -> String {
        USER.to_owned()
    }

    fn failed(reason: &str, source: &str) -> Option<Telling> {
        let (reason, source) = (reason.to_owned(), source.to_owned());
        not_acquired(CharacterAcquireFailed { user_id: me(), reason, source, ..CharacterAcquireFailed::default() })
            .unwrap()
    }

    /// One of each.
    fn all() -> Vec<Telling> {
        let update =
            || Some(PurchaseUpdate { transaction_id: "t".to_owned(), gold_delta: 1_500, ..PurchaseUpdate::default() });
        let returned = |id: &str| RewardsRedemptionFailed {
            user_id: me(),
            returned_posting_id: id.to_owned(),
            ..RewardsRedemptionFailed::default()
        };
        let taken_back = |owed| ShopSettlementVoided {
            user_id: me(),
            purchase_update: update(),
            owed,
            ..ShopSettlementVoided::default()
        };
        let confirmed =
            ShopSettlementConfirmed { user_id: me(), purchase_update: update(), ..ShopSettlementConfirmed::default() };
        vec![
            acquired(CharacterAcquired { user_id: me(), owned_count: 3, ..CharacterAcquired::default() }).unwrap(),
            failed("max_characters_reached", "scan").unwrap(),
            failed("already_owned", "reward").unwrap(),
            failed("character_not_found", "campaign").unwrap(),
            changed(MyProfileUpdated { user_id: me(), ..MyProfileUpdated::default() }).unwrap(),
            unseen(ScanFailed { user_id: me(), ..ScanFailed::default() }).unwrap().unwrap(),
            issued(RewardsRedemptionIssued { user_id: me(), ..RewardsRedemptionIssued::default() }).unwrap(),
            not_issued(returned("p")).unwrap(),
            not_issued(returned("")).unwrap(),
            settled(confirmed).unwrap(),
            voided(taken_back(0)).unwrap(),
            voided(taken_back(70_000)).unwrap(),
        ]
    }

    #[test]
    fn what_is_told_has_words_of_its_own_with_all_that_they_ask_for() {
        let mut seen = std::collections::BTreeSet::new();
        for telling in all() {
            assert!(seen.insert(telling.template), "{}", telling.template);
            assert_eq!(telling.user.to_string(), USER);
            for language in [Language::Ko, Language::En] {
                let text = render(telling.template, &telling.params, language);
                assert_ne!(text, render("none", &telling.params, language), "{}", telling.template);
                // A hole that is filled with nothing leaves two blanks, or one before a full stop.
                assert!(!text.body.contains("  ") && !text.body.contains(" ."), "{text:?}");
            }
        }
        assert_eq!(
            render("purchase.owed", &all().last().unwrap().params, Language::En).body.split(' ').next(),
            Some("70,000")
        );
    }

    #[test]
    fn what_was_not_due_is_not_told_and_what_somebody_has_is_not_pushed() {
        assert_eq!(failed("condition_not_met", "scan"), None);
        assert!(!failed("already_owned", "scan").unwrap().pushed);
        assert!(
            failed("already_owned", "reward").unwrap().pushed
                && failed("max_characters_reached", "scan").unwrap().pushed
        );
    }

    #[test]
    fn what_is_told_fits_into_a_push() {
        let long = ScanFailed { user_id: me(), reason: "가".repeat(5_000), ..ScanFailed::default() };
        let told = unseen(long).unwrap().unwrap();
        assert_eq!(told.params.get("reason").map(|text| text.chars().count()), Some(LONGEST));
        let nobody = ScanFailed { user_id: "alice".to_owned(), ..ScanFailed::default() };
        assert_eq!(unseen(nobody).unwrap_err().reason(), "MALFORMED_EVENT");
    }

    #[test]
    fn whoever_has_removed_a_photo_is_not_told_that_it_is_gone() {
        let gone = ScanFailed { user_id: me(), reason: "IMAGE_GONE".to_owned(), ..ScanFailed::default() };
        assert!(unseen(gone).unwrap().is_none());
    }
}
