//! What others tell is in the inbox once, with words in both languages; what is nothing to somebody is not.

use coreloop_core::Clock as _;
use coreloop_facts::{
    coreloop::shop::v1::PurchaseUpdate,
    v1::{
        CharacterAcquireFailed, MyProfileUpdated, RewardsRedemptionFailed, RewardsRedemptionIssued,
        ShopSettlementConfirmed, ShopSettlementVoided,
    },
};
use coreloop_testkit::{Persona, TestMesh, run, wait_until};
use serde_json::json;

use super::stage::{
    LONG, MESH, acquired, emitted, facts, happened, held, inbox, mesh, phone, pushed, pushes, registered, say, tell,
    told, unread, unseen,
};

fn refused(who: &Persona, reason: &str, source: &str) -> CharacterAcquireFailed {
    CharacterAcquireFailed {
        user_id: who.user_id.clone(),
        reason: reason.to_owned(),
        source: source.to_owned(),
        ..CharacterAcquireFailed::default()
    }
}

/// One of each that is told.
async fn tell_all(mesh: &TestMesh, who: &Persona) {
    let me = || who.user_id.clone();
    let update = PurchaseUpdate { transaction_id: "t-1".to_owned(), gold_delta: 12_500, ..PurchaseUpdate::default() };
    tell(mesh, who, &acquired(who, "CHR004")).await;
    tell(mesh, who, &refused(who, "max_characters_reached", "scan")).await;
    tell(mesh, who, &unseen(who)).await;
    let changed = vec!["nickname".to_owned()];
    tell(mesh, who, &MyProfileUpdated { user_id: me(), changed, ..MyProfileUpdated::default() }).await;
    let sku = || "coffee-5000".to_owned();
    let issued = RewardsRedemptionIssued { user_id: me(), sku: sku(), ..RewardsRedemptionIssued::default() };
    tell(mesh, who, &issued).await;
    let returned_posting_id = "p-1".to_owned();
    let failed = RewardsRedemptionFailed {
        user_id: me(),
        sku: sku(),
        returned_posting_id,
        ..RewardsRedemptionFailed::default()
    };
    tell(mesh, who, &failed).await;
    let purchase_update = Some(update.clone());
    let settled = ShopSettlementConfirmed { user_id: me(), purchase_update, ..ShopSettlementConfirmed::default() };
    tell(mesh, who, &settled).await;
    let purchase_update = Some(update);
    let voided = ShopSettlementVoided { user_id: me(), purchase_update, owed: 70, ..ShopSettlementVoided::default() };
    tell(mesh, who, &voided).await;
}

#[test]
fn everything_that_is_worth_telling_is_told_in_both_languages() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        tell_all(mesh, &alice).await;
        let mut rows = told(&alice, 8).await;
        rows.sort_by_key(|row| row["kind"].as_str().unwrap().to_owned());
        let kinds: Vec<_> =
            rows.iter().map(|row| row["kind"].as_str().unwrap().trim_start_matches("NOTIFICATION_KIND_")).collect();
        let wanted = "CHARACTER_ACQUIRED CHARACTER_ACQUIRE_FAILED PROFILE_UPDATED PURCHASE_SETTLED PURCHASE_VOIDED \
                      REDEMPTION_FAILED REDEMPTION_ISSUED SCAN_FAILED";
        assert_eq!(kinds, wanted.split(' ').collect::<Vec<_>>());
        let first = (&rows[0]["data"]["code"], &rows[0]["body"]);
        assert_eq!(first, (&json!("CHR004"), &json!("이제 캐릭터가 1,234개예요.")));
        assert_eq!(rows[3]["data"]["transaction_id"], "t-1");
        let page = alice.get("/api/v1/notifications?language=en").await.expect(200);
        let english: Vec<_> = page["notifications"].as_array().unwrap().iter().map(|row| row["body"].clone()).collect();
        for body in [
            "12,500 GOLD were added.",
            "70 GOLD were spent already and could not be taken back.",
            "Your points are back.",
        ] {
            assert!(english.contains(&json!(body)), "{body}: {english:?}");
        }
        assert_eq!(unread(&alice).await, 8);
        for row in &rows {
            assert_eq!((happened(mesh, row, "created").await, happened(mesh, row, "read").await), (1, 0), "{row}");
        }
        assert_eq!(emitted(mesh, "created", &alice).await, 8);
        // What is told of somebody is in the fact, for their socket, and in no history.
        let wordy = "select count(*) from notification.events
                      where payload::text like '%캐릭터%' or payload::text like '%CHR004%'";
        assert_eq!(mesh.db.count(wordy).await, 0);
    });
}

/// Delivered again, and again when nobody remembers that it was handled: it is told, and pushed, once.
#[test]
fn an_event_is_told_once_however_often_it_is_heard() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        let (once, at) = (facts(&alice, &acquired(&alice, "CHR001")), mesh.clock.now());
        say(&mesh, &once, at).await;
        say(&mesh, &once, at).await;
        let first = told(&alice, 1).await.remove(0);
        let heard =
            "select count(*) from notification.processed_events where idempotency_key like 'notification.facts:%'";
        wait_until("it is known", LONG, async || mesh.db.count(heard).await == 1).await;
        mesh.db
            .execute("delete from notification.processed_events where idempotency_key like 'notification.facts:%'")
            .await;
        say(&mesh, &once, at).await;
        // What comes behind has seen it pass.
        tell(&mesh, &alice, &acquired(&alice, "CHR002")).await;
        let rows = told(&alice, 2).await;
        assert_eq!((rows.len(), &rows[1]), (2, &first));
        let both = pushed(&mesh, &token, 2).await;
        assert_eq!(
            (both.len(), both[0]["data"]["code"].as_str(), both[1]["data"]["code"].as_str()),
            (2, Some("CHR001"), Some("CHR002"))
        );
        assert_eq!(emitted(&mesh, "created", &alice).await, 2);
        assert_eq!(mesh.db.count("select count(*) from notification.pushes").await, 2);
    });
}

#[test]
fn what_was_not_due_is_not_told_and_what_somebody_has_is_not_pushed() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        tell(mesh, &alice, &refused(&alice, "condition_not_met", "scan")).await;
        tell(mesh, &alice, &refused(&alice, "already_owned", "scan")).await;
        tell(mesh, &alice, &refused(&alice, "already_owned", "reward")).await;
        let rows = told(&alice, 2).await;
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| row["data"]["reason"] == "already_owned"), "{rows:?}");
        let pushed = pushed(mesh, &token, 1).await;
        assert_eq!((pushed.len(), &pushed[0]["data"]["source"]), (1, &json!("reward")));
    });
}

#[test]
fn an_event_that_is_none_is_set_aside_and_others_go_on() {
    run(async {
        let mesh = mesh().start().await;
        let alice = mesh.persona("alice").await;
        let mut nobody = unseen(&alice);
        nobody.user_id = "alice".to_owned();
        tell(&mesh, &alice, &nobody).await;
        tell(&mesh, &alice, &unseen(&alice)).await;
        assert_eq!(told(&alice, 1).await.len(), 1);
        let letter =
            "select count(*) from notification.held_events where state = 'dead' and reason = 'MALFORMED_EVENT'";
        wait_until("it is a dead letter", LONG, async || mesh.db.count(letter).await == 1).await;
        assert_eq!(held(&mesh, "dead").await, 1);
        assert_eq!(inbox(&alice).await.len(), 1);
    });
}

/// Read again from long ago, or held up for long: it is in the inbox, and no phone rings.
#[test]
fn old_news_is_told_and_not_pushed() {
    run(async {
        let mesh = mesh().setting("notification.push_ttl_secs", 60_i64).start().await;
        let (alice, token) = (mesh.persona("alice").await, phone("own"));
        registered(&alice, &token).await;
        let late = mesh.clock.now().saturating_sub(jiff::SignedDuration::from_secs(61)).unwrap();
        say(&mesh, &facts(&alice, &acquired(&alice, "CHR001")), late).await;
        tell(&mesh, &alice, &acquired(&alice, "CHR002")).await;
        assert_eq!(told(&alice, 2).await.len(), 2);
        let all = pushed(&mesh, &token, 1).await;
        assert_eq!(all[0]["data"]["code"], "CHR002");
        assert_eq!(pushes(&mesh, &token).await.len(), 1);
    });
}
