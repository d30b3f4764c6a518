//! `CancelRedemption`: an administrator ends what a vendor neither issues nor cancels; what the vendor says after all is not lost.

use coreloop_testkit::{Persona, TestMesh, mesh::Builder, run, wait_until};
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{LONG, Shelf, audited, person_with, points_of, redeemed, settled};

fn mesh() -> Builder {
    // Nobody gives it up before an administrator does.
    TestMesh::builder()
        .stand_ins()
        .setting("rewards.give_up_secs", 80_000_i64)
        .setting("rewards.vendor_timeout_ms", 25_000_i64)
        .setting("limit.enabled", false)
}

async fn fault(mesh: &TestMesh, fault: Value) {
    mesh.stand_ins.as_ref().unwrap().rest().post("/_sandbox/faults", &fault).send().await.expect(201);
}

/// A vendor that says nothing to a question from now on.
async fn silent(mesh: &TestMesh, endpoint: &str) {
    fault(mesh, json!({"provider": "vendor", "endpoint": endpoint, "kind": "error", "status": 500})).await;
}

/// A redemption that was paid for.
async fn paid(mesh: &TestMesh, person: &Persona, shelf: &Shelf, key: &str) -> String {
    let begun = redeemed(person, &shelf.sku, key).await.expect(200);
    let id = begun["redemption"]["redemption_id"].as_str().unwrap().to_owned();
    let state = format!("select count(*) from rewards.redemptions where id = '{id}' and state = 2");
    wait_until("it is paid for", LONG, async || mesh.db.count(&state).await == 1).await;
    id
}

fn cancel(id: &str) -> String {
    format!("/admin/rewards/redemptions/{id}/cancel")
}

#[test]
fn what_a_vendor_neither_issues_nor_cancels_is_given_back_once() {
    run(async {
        let mesh = mesh().start().await;
        let (admin, shelf) = (mesh.admin().await, Shelf::with(&mesh, 10, 3).await);
        let alice = person_with(&mesh, "alice", 10).await;
        silent(&mesh, "order").await;
        silent(&mesh, "cancel").await;
        let id = paid(&mesh, &alice, &shelf, "k").await;
        assert_eq!((points_of(&alice).await, shelf.stock(&mesh).await), (0, 2));
        let why = json!({"reason": "ticket 12"});
        assert_ne!(alice.post(&cancel(&id), &why).await.status, 200, "not by its owner");
        admin.post(&cancel(&id), &json!({"reason": ""})).await.refused(400, "VALIDATION_FAILED");
        admin.post(&cancel(&Uuid::new_v4().to_string()), &why).await.refused(404, "REDEMPTION_NOT_FOUND");
        for _ in 0..2 {
            let ended = admin.post(&cancel(&id), &why).await.expect(200)["redemption"].clone();
            assert_eq!(ended["reason"], "OPERATOR", "{ended}");
        }
        let failed = settled(&alice, &id).await;
        assert_eq!((&failed["state"], &failed["reason"]), (&json!("REDEMPTION_STATE_FAILED"), &json!("OPERATOR")));
        wait_until("the points are back", LONG, async || points_of(&alice).await == 10).await;
        assert_eq!(shelf.stock(&mesh).await, 3);
        // Requested, paid, returning, failed; and who ended it, and why.
        assert_eq!(audited(&mesh, &id).await, 5);
        let who = format!(
            "select count(*) from rewards.reward_audit where subject = '{id}' and step = 'ended_by_hand'
                and actor = 'user:{}' and detail ->> 'reason' = 'ticket 12'",
            admin.user_id
        );
        assert_eq!(mesh.db.count(&who).await, 1);
        // With the points something else is to be had.
        mesh.stand_ins.as_ref().unwrap().rest().delete("/_sandbox/faults").send().await;
        let begun = redeemed(&alice, &shelf.sku, "l").await.expect(200);
        let other = begun["redemption"]["redemption_id"].as_str().unwrap();
        assert_eq!(settled(&alice, other).await["state"], "REDEMPTION_STATE_ISSUED");
        admin.post(&cancel(other), &why).await.refused(400, "REDEMPTION_SETTLED");
        assert_eq!((points_of(&alice).await, shelf.stock(&mesh).await), (0, 2));
    });
}

#[test]
fn what_a_vendor_had_issued_is_issued_when_it_is_told_to_cancel() {
    run(async {
        let mesh = mesh().start().await;
        let (admin, shelf) = (mesh.admin().await, Shelf::with(&mesh, 10, 1).await);
        let alice = person_with(&mesh, "alice", 10).await;
        fault(&mesh, json!({"provider": "vendor", "endpoint": "order", "kind": "lost"})).await;
        let id = paid(&mesh, &alice, &shelf, "k").await;
        let orders = async || {
            let told = mesh.stand_ins.as_ref().unwrap().rest().get("/_sandbox/vendor/orders").send().await.expect(200);
            told["orders"][&id].clone()
        };
        wait_until("the vendor has issued it", LONG, async || orders().await["status"] == "issued").await;
        let ended = admin.post(&cancel(&id), &json!({"reason": "ticket 13"})).await.expect(200)["redemption"].clone();
        assert_eq!((&ended["state"], &ended["voucher_code"]), (&json!("REDEMPTION_STATE_ISSUED"), &json!("")));
        let issued = settled(&alice, &id).await;
        assert_eq!(issued["voucher_code"], orders().await["code"], "its owner alone sees it");
        assert_eq!((points_of(&alice).await, shelf.stock(&mesh).await), (0, 0));
    });
}

#[test]
fn what_a_vendor_issues_after_it_was_given_back_is_nobodys_and_counted() {
    run(async {
        let mesh = mesh().start().await;
        let (admin, shelf) = (mesh.admin().await, Shelf::with(&mesh, 10, 1).await);
        let alice = person_with(&mesh, "alice", 10).await;
        // It takes its time, and then does what it was asked for.
        fault(&mesh, json!({"provider": "vendor", "endpoint": "order", "kind": "latency", "ms": 8_000})).await;
        silent(&mesh, "cancel").await;
        let id = paid(&mesh, &alice, &shelf, "k").await;
        let asked = async || {
            let told = mesh.stand_ins.as_ref().unwrap().rest().get("/_sandbox/stats").send().await.expect(200);
            told["endpoints"]["vendor/order"]["requests"].as_u64().unwrap_or_default() > 0
        };
        wait_until("the vendor is at it", LONG, async || asked().await).await;
        admin.post(&cancel(&id), &json!({"reason": "ticket 14"})).await.expect(200);
        wait_until("the points are back", LONG, async || points_of(&alice).await == 10).await;
        let late = || {
            let text = mesh.node(0, "rewards").running().metrics.encode();
            text.lines().any(|line| line == "rewards_late_issues_total 1")
        };
        wait_until("it is counted", LONG, async || late()).await;
        let failed = settled(&alice, &id).await;
        assert_eq!((&failed["state"], &failed["voucher_code"]), (&json!("REDEMPTION_STATE_FAILED"), &json!("")));
        assert_eq!((points_of(&alice).await, shelf.stock(&mesh).await), (10, 1));
    });
}
