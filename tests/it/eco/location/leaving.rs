//! Whoever closes their account leaves neither favourites nor visits, and none comes after.

use coreloop_testkit::{PASSWORD, run, wait_until};
use serde_json::json;

use super::stage::{LONG, MESH, SHOPS, visit};

#[test]
fn whoever_closes_their_account_leaves_nothing() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        for who in [&alice, &bob] {
            who.post("/api/v1/location/favorites", &json!({"shop_id": SHOPS[0].id})).await.expect(200);
            visit(who, &SHOPS[0].id, SHOPS[0].place).await.expect(200);
        }
        let rows = |table: &str, user: &str| format!("select count(*) from location.{table} where user_id = '{user}'");
        alice.post("/api/v1/auth/withdraw", &json!({"password": PASSWORD})).await.expect(200);
        for table in ["favorites", "visits"] {
            let theirs = rows(table, &alice.user_id);
            wait_until(format!("{table} are gone"), LONG, async || mesh.db.count(&theirs).await == 0).await;
            assert_eq!(mesh.db.count(&rows(table, &bob.user_id)).await, 1);
        }
        // What is left says that there was somebody, and that nothing is kept of them any more.
        let closed = format!(
            "select count(*) from location.owners where user_id = '{}' and withdrawn_at is not null",
            alice.user_id
        );
        assert_eq!(mesh.db.count(&closed).await, 1);
    });
}

#[test]
fn nothing_is_kept_beside_the_end_of_an_account() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        // The end is heard here before her token is revoked.
        let close = format!("insert into location.owners (user_id, withdrawn_at) values ('{}', now())", alice.user_id);
        mesh.db.execute(&close).await;
        visit(&alice, &SHOPS[0].id, SHOPS[0].place).await.refused(400, "USER_WITHDRAWN");
        let kept = alice.post("/api/v1/location/favorites", &json!({"shop_id": SHOPS[0].id})).await;
        kept.refused(400, "USER_WITHDRAWN");
    });
}
