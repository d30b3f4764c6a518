//! What anybody sees of somebody: what is public, and no more; the owner too.

use coreloop_scan_api::v1::Category;
use coreloop_testkit::run;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{MESH, changed, counted, day, follow, patch, public, recycles};

#[test]
fn others_see_what_is_public_and_the_owner_sees_no_more_there() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        changed(&alice, &json!({"bio": "hello"})).await;
        recycles(mesh, &alice, Category::Pet, &day(mesh, 0)).await;
        counted(mesh, &alice, 1).await;
        follow(&bob, &alice.user_id).await.expect(200);
        let path = format!("/api/users/{}", alice.user_id);
        let seen = public(mesh, &alice.user_id).await.expect(200)["user"].clone();
        assert_eq!(
            (&seen["nickname"], &seen["bio"], &seen["followers"], &seen["badges"], &seen["followed"]),
            (&json!("alice"), &json!("hello"), &json!(1), &json!(["FIRST_SCAN"]), &json!(false)),
            "{seen}"
        );
        assert!(seen.get("figures").is_none_or(Value::is_null), "{seen}");
        assert_eq!(seen["masked"], json!(["balances", "figures"]));
        // Nothing of the account, nothing of money.
        for secret in ["email", "roles", "gold", "point", "balance\"", "language", "version", "image_id"] {
            assert!(!seen.to_string().contains(&format!("\"{secret}")), "{secret}: {seen}");
        }
        assert_eq!(alice.get(&path).await.expect(200)["user"], seen, "the owner sees the same");
        let mut by_bob = bob.get(&path).await.expect(200)["user"].clone();
        assert_eq!(by_bob["followed"], true);
        by_bob["followed"] = json!(false);
        assert_eq!(by_bob, seen);

        // She lets others see her figures, and thinks better of it.
        patch(&alice, "/api/v1/my/preferences", &json!({"public_figures": true})).await.expect(200);
        let open = public(mesh, &alice.user_id).await.expect(200)["user"].clone();
        assert_eq!((&open["figures"]["recycled"], &open["masked"]), (&json!(1), &json!(["balances"])), "{open}");
        assert_eq!(open["figures"]["impact"]["tree_milli"], 20);
        patch(&alice, "/api/v1/my/preferences", &json!({"public_figures": false})).await.expect(200);
        assert_eq!(public(mesh, &alice.user_id).await.expect(200)["user"], seen);
    });
}

#[test]
fn who_is_not_there_is_not_found() {
    run(async {
        let mesh = MESH.get().await;
        public(mesh, &Uuid::new_v4().to_string()).await.refused(404, "USER_NOT_FOUND");
        public(mesh, "alice").await.refused(400, "VALIDATION_FAILED");
        // A token that is sent must be good.
        let alice = mesh.persona("alice").await;
        let bad = mesh.rest().with_token("nonsense").get(&format!("/api/users/{}", alice.user_id)).send().await;
        bad.refused(401, "TOKEN_INVALID");
    });
}
