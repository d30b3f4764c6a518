//! What is sent to a place that was signed and becomes no image does not stay in storage.

use coreloop_testkit::{PASSWORD, TestMesh, mesh::Builder, run, wait_until};
use serde_json::{Value, json};

use super::stage::{self, LONG, Taken, load, photo, place, registered, sent};

/// Looked after every second.
fn mesh() -> Builder {
    stage::mesh().setting("image.sweep_secs", 1_i64)
}

/// Places that are noted.
async fn noted(mesh: &TestMesh, condition: &str) -> i64 {
    mesh.db.count(&format!("select count(*) from image.places where {condition}")).await
}

/// The time of all places has come.
async fn due(mesh: &TestMesh) {
    mesh.db.execute("update image.places set due_at = now() - interval '1 day'").await;
}

/// Waits until storage has nothing at a place.
async fn is_gone(place: &Value) {
    let address = place["get_url"].as_str().unwrap();
    wait_until("it is gone", LONG, async || load(address).await.status == 404).await;
}

#[test]
fn what_is_sent_and_never_registered_goes() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, can) = (mesh.persona("alice").await, photo("can.png"));
        let kept = Taken::by(&alice, "box.jpg").await;
        let late = place(&alice, can).await;
        let etag = sent(&late, can).await;
        assert_eq!(noted(&mesh, "removed_at is null").await, 1, "what is registered is not noted any more");
        let a_day = "due_at between now() + interval '23 hours' and now() + interval '25 hours'";
        assert_eq!(noted(&mesh, a_day).await, 1);
        due(&mesh).await;
        is_gone(&late).await;
        registered(&alice, &late, &etag).await.refused(404, "UPLOAD_NOT_FOUND");
        // Its address is good for a while yet. What is sent there is no image any more, and goes too.
        assert_eq!(sent(&late, can).await, etag);
        registered(&alice, &late, &etag).await.refused(404, "UPLOAD_NOT_FOUND");
        assert_eq!(noted(&mesh, "due_at > now()").await, 1, "it is looked at again");
        due(&mesh).await;
        is_gone(&late).await;
        wait_until("that was all", LONG, async || noted(&mesh, "true").await == 0).await;
        assert_eq!(load(kept.loadable()).await.status, 200);
    });
}

/// Whoever had asked storage before the object went must not register it after.
#[test]
fn of_a_registration_and_a_removal_one_is_first() {
    run(async {
        let mesh = stage::mesh().start().await;
        let (alice, can) = (mesh.persona("alice").await, photo("can.png"));
        let late = place(&alice, can).await;
        let etag = sent(&late, can).await;
        mesh.db.execute("update image.places set removed_at = now()").await;
        registered(&alice, &late, &etag).await.refused(404, "UPLOAD_NOT_FOUND");
        assert_eq!(noted(&mesh, "removed_at is not null").await, 1);
    });
}

/// A note that came late, after the registration.
#[test]
fn an_image_that_is_there_stays_whatever_is_noted() {
    run(async {
        let mesh = mesh().start().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::by(&alice, "box.jpg").await;
        let late = format!(
            "insert into image.places (image_id, user_id, object_key, due_at)
             select id, user_id, object_key, now() - interval '1 day' from image.images where id = '{}'",
            taken.id()
        );
        mesh.db.execute(&late).await;
        wait_until("it was looked at", LONG, async || noted(&mesh, "true").await == 0).await;
        assert_eq!(load(taken.loadable()).await.status, 200);
    });
}

#[test]
fn what_is_sent_to_the_place_of_a_removed_image_goes() {
    run(async {
        let mesh = mesh().start().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::by(&alice, "can.png").await;
        alice.delete(&taken.path()).await.expect(200);
        taken.is_gone(&mesh).await;
        sent(&taken.place, photo("can.png")).await;
        let while_it_is_signed = "due_at between now() and now() + interval '15 minutes'";
        assert_eq!(noted(&mesh, while_it_is_signed).await, 1);
        due(&mesh).await;
        is_gone(&taken.place).await;
    });
}

#[test]
fn whoever_closes_their_account_leaves_nothing_that_they_had_sent() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, bob, can) = (mesh.persona("alice").await, mesh.persona("bob").await, photo("can.png"));
        let (hers, his) = (place(&alice, can).await, place(&bob, can).await);
        sent(&hers, can).await;
        sent(&his, can).await;
        alice.post("/api/v1/auth/withdraw", &json!({"password": PASSWORD})).await.expect(200);
        let soon = format!("user_id = '{}' and due_at <= now() + interval '15 minutes'", alice.user_id);
        wait_until("it ends with her address", LONG, async || noted(&mesh, &soon).await == 1).await;
        mesh.db.execute(&format!("update image.places set due_at = now() - interval '1 day' where {soon}")).await;
        is_gone(&hers).await;
        assert_eq!(load(his["get_url"].as_str().unwrap()).await.status, 200);
    });
}
