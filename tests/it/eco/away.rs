//! What the README says of image without a part of the mesh (O3): what works, what does not, and that what waited is done, once.

use coreloop_testkit::{Fault, FaultProxy, StandIns, logs, mesh::Before, run, wait::PATIENCE, wait_until};
use serde_json::{Value, json};

use super::stage::{LONG, Taken, listed, mesh, photo, place, plain, registered, rows_of, sent, told};
use crate::shop::away::{AWAY, BLIND, blindly, refused_in_the_end, untold};

#[test]
fn without_storage_uploads_are_signed_and_what_is_removed_waits_at_last_as_a_dead_letter() {
    run(async {
        let storage = StandIns::start().await;
        let proxy = FaultProxy::before(storage.base().trim_start_matches("http://")).await;
        let mesh = mesh()
            .modules(&["auth", "image", "ops"])
            .setting("image.s3_endpoint", format!("http://{}", proxy.address()))
            .start()
            .await;
        let (admin, alice, can) = (mesh.admin().await, mesh.persona("alice").await, photo("can.png"));
        let taken = Taken::by(&alice, "box.jpg").await;
        let waits = place(&alice, can).await;
        let etag = sent(&waits, can).await;
        storage.fault(&json!({"provider": "s3", "endpoint": "head", "kind": "error", "status": 503, "times": 1})).await;
        registered(&alice, &waits, &etag).await.refused(503, "STORAGE_UNAVAILABLE");
        proxy.set(Fault::Cut);
        let _signed = place(&alice, can).await;
        assert_eq!(plain(&alice.get(&taken.path()).await.expect(200)["image"]), taken.image);
        let refused = registered(&alice, &waits, &etag).await;
        refused.refused(503, "STORAGE_UNAVAILABLE");
        assert!(!refused.header("retry-after").is_empty());
        assert_eq!(rows_of(&mesh, &alice).await, 1);
        alice.delete(&taken.path()).await.expect(200);
        alice.get(&taken.path()).await.refused(404, "IMAGE_NOT_FOUND");
        let dead = "select count(*) from image.held_events where consumer = 'image.removal' and state = 'dead'";
        wait_until("it is tried to the end", LONG, async || mesh.db.count(dead).await == 1).await;
        let letters = admin.get("/admin/dlq/image.removal").await.expect(200)["dead_letters"].clone();
        assert_eq!((&letters[0]["reason"], &letters[1]), (&json!("STORAGE_UNAVAILABLE"), &Value::Null), "{letters}");
        // Who can read what is logged or set aside can load nothing by it.
        assert!(!letters.to_string().contains("X-Amz"), "{letters}");
        let logged = logs::lines_with("X-Amz-Signature").into_iter().filter(|line| !line.to_string().contains("s3s"));
        assert_eq!(logged.count(), 0);

        proxy.heal();
        let image = registered(&alice, &waits, &etag).await.expect(200)["image"].clone();
        assert_eq!(image["gps"]["lat"], 37.5665, "what the app said of it is known");
        let again = json!({"queue": "image.removal", "count": 1});
        assert_eq!(admin.post("/admin/dlq/reprocess", &again).await.expect(200)["reprocessed"], 1);
        taken.is_gone(&mesh).await;
        assert_eq!((rows_of(&mesh, &alice).await, told(&mesh, "deleted", &alice).await), (1, 1));
    });
}

#[test]
fn without_redis_photos_come_without_what_the_app_says_of_them_and_go_later() {
    run(async {
        let mut mesh = mesh().toml(BLIND).setting("image.redis_timeout_ms", 300_i64).start().await;
        let (alice, can) = (mesh.persona("alice").await, photo("can.png"));
        let taken = Taken::by(&alice, "box.jpg").await;
        mesh.redis.kill();
        blindly(async || alice.get("/api/v1/image").await).await;
        let place = place(&alice, can).await;
        let etag = sent(&place, can).await;
        let image = registered(&alice, &place, &etag).await.expect(200)["image"].clone();
        assert_eq!(image["gps"], Value::Null);
        alice.delete(&taken.path()).await.expect(200);
        alice.get(&taken.path()).await.refused(404, "IMAGE_NOT_FOUND");
        assert!(untold(&mesh, "image").await > 0, "what is to be told waits");
        assert_eq!(rows_of(&mesh, &alice).await, 2);
        refused_in_the_end(async || alice.get("/api/v1/image").await).await;
        mesh.redis.resurrect().await;
        wait_until("she is answered", LONG, async || alice.get("/api/v1/image").await.status == 200).await;
        taken.is_gone(&mesh).await;
        assert_eq!(listed(&alice).await, [plain(&image)]);
    });
}

#[test]
fn without_postgres_uploads_are_signed_and_nothing_else() {
    run(async {
        let mesh = mesh().proxy(Before::Postgres).start().await;
        let (alice, can) = (mesh.persona("alice").await, photo("can.png"));
        let taken = Taken::by(&alice, "box.jpg").await;
        let proxy = mesh.postgres_proxy.as_ref().unwrap();
        proxy.set(Fault::Cut);
        let place = place(&alice, can).await;
        let etag = sent(&place, can).await;
        registered(&alice, &place, &etag).await.refused(503, AWAY);
        alice.get(&taken.path()).await.refused(503, AWAY);
        alice.get("/api/v1/image").await.refused(503, AWAY);
        alice.delete(&taken.path()).await.refused(503, AWAY);
        proxy.heal();
        wait_until("it is registered", PATIENCE, async || registered(&alice, &place, &etag).await.status == 200).await;
        alice.delete(&taken.path()).await.expect(200);
        taken.is_gone(&mesh).await;
        assert_eq!((rows_of(&mesh, &alice).await, told(&mesh, "registered", &alice).await), (1, 2));
    });
}

#[test]
fn without_auth_whoever_has_a_token_is_served() {
    run(async {
        let mut mesh = mesh().split().start().await;
        let alice = mesh.persona("alice").await;
        let before = Taken::by(&alice, "box.jpg").await;
        mesh.node_mut(0, "auth").kill().await;
        let after = Taken::by(&alice, "can.png").await;
        assert_eq!(plain(&alice.get(&after.path()).await.expect(200)["image"]), after.image);
        alice.delete(&before.path()).await.expect(200);
        before.is_gone(&mesh).await;
        assert_eq!(listed(&alice).await, [after.image]);
    });
}
