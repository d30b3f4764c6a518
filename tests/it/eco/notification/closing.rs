//! Who closes the account is forgotten, and what is heard of them late is told to nobody.

use coreloop_core::Clock as _;
use coreloop_facts::v1::AuthUserWithdrawn;
use coreloop_testkit::{PASSWORD, run, wait_until};
use http::Method;
use serde_json::json;

use super::stage::{LONG, acquired, mesh, phone, prefers, pushed, pushes, quiet_for, registered, tell, told, waiting};

#[test]
fn a_closed_account_leaves_nothing_and_is_told_nothing() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let (hers, his) = (phone("own"), phone("own"));
        registered(&alice, &hers).await;
        registered(&bob, &his).await;
        prefers(&alice, &json!({"language": "en", "push_off": []})).await;
        quiet_for(&alice, mesh.clock.now(), 180).await;
        for who in [&alice, &bob] {
            tell(&mesh, who, &acquired(who, "CHR001")).await;
            told(who, 1).await;
        }
        assert_eq!(waiting(&mesh, &alice).await, 1);
        let ears = alice.clone();
        alice.post("/api/v1/auth/withdraw", &json!({"password": PASSWORD})).await.expect(200);
        let rows =
            |table: &str| format!("select count(*) from notification.{table} where user_id = '{}'", alice.user_id);
        let closed =
            format!("{} and closed and language = '' and quiet_zone is null and push_off = '{{}}'", rows("people"));
        wait_until("it is forgotten", LONG, async || mesh.db.count(&closed).await == 1).await;
        for table in ["inbox", "devices", "pushes"] {
            assert_eq!(mesh.db.count(&rows(table)).await, 0, "{table}");
        }
        // Late: something to tell, and the word itself once more. What comes behind has seen them pass.
        tell(&mesh, &alice, &acquired(&alice, "CHR002")).await;
        tell(&mesh, &alice, &AuthUserWithdrawn { user_id: alice.user_id.clone(), occurred_at: None }).await;
        tell(&mesh, &bob, &acquired(&bob, "CHR002")).await;
        told(&bob, 2).await;
        pushed(&mesh, &his, 2).await;
        let heard =
            "select count(*) from notification.processed_events where idempotency_key like 'notification.facts:%'";
        wait_until("all of it was heard", LONG, async || mesh.db.count(heard).await == 6).await;
        assert_eq!((mesh.db.count(&rows("inbox")).await, pushes(&mesh, &hers).await.len()), (0, 0));
        // Her token is good for nothing; one that were would find the account closed.
        let change = json!({"language": "ko"});
        let answer = ears.call(Method::PATCH, "/api/v1/notifications/preferences").json(&change).send().await;
        assert!([400, 401].contains(&answer.status.as_u16()), "{} {}", answer.status, answer.text());
        assert_eq!(mesh.db.count(&closed).await, 1);
    });
}
