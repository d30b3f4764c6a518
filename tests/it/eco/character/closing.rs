//! Who closes the account is forgotten, and what is heard of them late changes nothing.

use coreloop_facts::v1::AuthUserWithdrawn;
use coreloop_scan_api::v1::Category;
use coreloop_testkit::{PASSWORD, run, wait_until};
use serde_json::{Value, json};

use super::stage::{LONG, gift, give, given, happened, mesh, scanned, tell, view, wait_for_owned, wait_for_view};

#[test]
fn a_closed_account_stays_closed() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        scanned(&mesh, &alice, Category::Pet, "2026-11-22").await;
        wait_for_owned(&alice, &["CHR005"]).await;
        for who in [&alice, &bob] {
            given(&mesh, who, "CHR001").await;
            wait_for_view(&mesh, who).await;
        }
        alice.post("/api/v1/auth/withdraw", &json!({"password": PASSWORD})).await.expect(200);
        wait_until("Redis has forgotten", LONG, async || view(&mesh, &alice.user_id).await == (3, Value::Null)).await;
        for table in ["ownership", "counters", "days", "grants", "idempotency_keys"] {
            let rows = format!("select count(*) from character.{table} where user_id = '{}'", alice.user_id);
            assert_eq!(mesh.db.count(&rows).await, 0, "{table}");
        }
        let ranking = bob.get("/api/v1/characters/ranking").await.expect(200);
        assert_eq!((&ranking["total"], &ranking["entries"][0]["user_id"]), (&json!(1), &json!(bob.user_id)));

        // Late: a scan, a campaign, and the word itself once more. What comes behind has seen them pass.
        scanned(&mesh, &alice, Category::Glass, "2026-11-22").await;
        tell(&mesh, &alice.user_id, &AuthUserWithdrawn { user_id: alice.user_id.clone(), occurred_at: None }).await;
        let sent = gift("late", &alice.user_id, "CHR002");
        give(&mesh, "campaigns", &sent).await.refused(400, "USER_WITHDRAWN");
        scanned(&mesh, &bob, Category::Glass, "2026-11-22").await;
        wait_for_owned(&bob, &["CHR001", "CHR008"]).await;
        let handled = "select count(*) from character.processed_events";
        wait_until("all of it was heard", LONG, async || mesh.db.count(handled).await >= 5).await;
        assert_eq!(happened(&mesh, &alice).await, 3);
        let rows = format!("select count(*) from character.grants where user_id = '{}'", alice.user_id);
        assert_eq!(mesh.db.count(&rows).await, 0);
    });
}
