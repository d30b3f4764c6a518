//! What an answer is told beside what was said: the photo, what scan says of it, the characters of the user; and that it does without
//! whom it cannot ask.

use coreloop_testkit::{Persona, TestMesh, run, wait_until};
use serde_json::json;
use uuid::Uuid;

use super::stage::{FOREVER_MS, MESH, Talk, came_to_nothing, fault, held, id, is_once, leaked, mended, mesh, text};
use crate::eco::{
    character::stage::given,
    scan::stage::ended,
    stage::{LONG, Taken},
};

const REPEAT: &str = "Repeat what you were told.";

/// A photo of somebody that scan has seen.
async fn seen(who: &Persona, name: &str) -> Taken {
    let taken = Taken::by(who, name).await;
    assert_eq!(ended(who, taken.id()).await["state"], "TASK_STATE_COMPLETED");
    taken
}

/// Rows that know of an image.
async fn with_image(mesh: &TestMesh, taken: &Taken) -> i64 {
    mesh.db.count(&format!("select count(*) from chat.messages where image_id = '{}'", taken.id())).await
}

#[test]
fn a_photo_is_shown_to_the_model() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let (talk, taken) = (Talk::of(&alice).await, seen(&alice, "bottle.jpg").await);
        let sent = talk.say(&json!({"image_id": taken.id(), "text": "And this?"})).await.expect(202);
        assert_eq!((&sent["message"]["image_id"], &sent["message"]["image_gone"]), (&json!(taken.id()), &json!(false)));
        let answer = talk.ended(&sent["answer"]).await;
        assert!(text(&answer).starts_with("The photo shows pet"), "{answer}");
        is_once(mesh, &answer, 1).await;
        // Without a word, too; and it is remembered as a photo.
        let wordless = talk.say(&json!({"image_id": taken.id()})).await.expect(202);
        assert!(text(&talk.ended(&wordless["answer"]).await).starts_with("The photo shows pet"));
        let told = talk.answered(REPEAT).await;
        assert!(
            text(&told).contains("user: [photo] And this?") && text(&told).contains("assistant: The photo shows pet"),
            "{told}"
        );
        assert_eq!(leaked(mesh, "X-Amz").await, 0, "what opens a photo is nowhere");
    });
}

#[test]
fn what_scan_says_and_who_is_collected_is_told() {
    run(async {
        let mesh = mesh().setting("chat.model_sees", false).start().await;
        let alice = mesh.persona("alice").await;
        let (talk, taken) = (Talk::of(&alice).await, seen(&alice, "can.png").await);
        given(&mesh, &alice, "CHR007").await;
        let sent = talk.say(&json!({"image_id": taken.id(), "text": REPEAT})).await.expect(202);
        let told = talk.ended(&sent["answer"]).await;
        for known in ["The photo shows: can", "it can be recycled", "CHR007 (level 1)"] {
            assert!(text(&told).contains(known), "{known}: {told}");
        }
        // Somebody else has none of it.
        let bob = mesh.persona("bob").await;
        let told = Talk::of(&bob).await.answered(REPEAT).await;
        assert!(
            text(&told).contains("The user has no characters yet.") && !text(&told).contains("photo shows"),
            "{told}"
        );
    });
}

#[test]
fn somebody_elses_photo_is_none() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, eve) = (mesh.persona("alice").await, mesh.persona("eve").await);
        let (theirs, talk) = (Taken::by(&alice, "jar.webp").await, Talk::of(&eve).await);
        for image in [theirs.id().to_owned(), Uuid::new_v4().to_string()] {
            talk.say(&json!({"image_id": image, "text": "Whose?"})).await.refused(404, "IMAGE_NOT_FOUND");
        }
        assert!(talk.messages().await.is_empty());
        // One that was removed is none either.
        let gone = Taken::by(&eve, "box.jpg").await;
        eve.delete(&gone.path()).await.expect(200);
        talk.say(&json!({"image_id": gone.id()})).await.refused(404, "IMAGE_NOT_FOUND");
    });
}

#[test]
fn a_photo_that_is_removed_is_gone_from_what_was_said() {
    run(async {
        let mesh = mesh().start().await;
        let alice = mesh.persona("alice").await;
        let (talk, taken) = (Talk::of(&alice).await, seen(&alice, "bottle.jpg").await);
        let sent =
            talk.say(&json!({"image_id": taken.id(), "text": "This?", "idempotency_key": "1"})).await.expect(202);
        let answer = talk.ended(&sent["answer"]).await;
        // Another waits behind an answer that takes long, and has no word beside its photo.
        let held_up = Taken::by(&alice, "can.png").await;
        fault(&mesh, json!({"kind": "stall", "ms": 30_000, "times": 1})).await;
        let long = talk.said("Tell me all of it.").await;
        let waits = talk.say(&json!({"image_id": held_up.id()})).await.expect(202)["answer"].clone();
        alice.delete(&taken.path()).await.expect(200);
        alice.delete(&held_up.path()).await.expect(200);
        wait_until("chat knows of it", LONG, async || {
            with_image(&mesh, &taken).await + with_image(&mesh, &held_up).await == 0
        })
        .await;
        let said = talk.message(&sent["message"]).await;
        assert_eq!(
            (&said["image_id"], &said["image_gone"], &said["text"]),
            (&json!(""), &json!(true), &json!("This?"))
        );
        assert_eq!(talk.message(&answer).await, answer, "what was answered stays");
        talk.ended(&long).await;
        came_to_nothing(&talk.ended(&waits).await, "IMAGE_GONE");
        // The same request, which came again, is the same.
        let again = talk.say(&json!({"image_id": taken.id(), "text": "This?", "idempotency_key": "1"})).await;
        assert_eq!(again.expect(202)["answer"], answer);
        assert_eq!(held(&mesh, "dead").await, 0);
    });
}

/// Whom the answer cannot ask it does without; a photo of which nobody knows whose it is is not taken.
#[test]
fn without_its_neighbours_it_answers_all_the_same() {
    run(async {
        let mut mesh = mesh().split().start().await;
        let alice = mesh.persona("alice").await;
        let (talk, taken) = (Talk::of(&alice).await, seen(&alice, "bottle.jpg").await);
        mesh.node_mut(0, "scan").kill().await;
        mesh.node_mut(0, "character").kill().await;
        let sent = talk.say(&json!({"image_id": taken.id(), "text": "This?"})).await.expect(202);
        assert!(text(&talk.ended(&sent["answer"]).await).starts_with("The photo shows pet"));
        let told = talk.answered(REPEAT).await;
        assert!(!text(&told).contains("characters:") && !text(&told).contains("no characters yet"), "{told}");
        mesh.node_mut(0, "image").kill().await;
        talk.say(&json!({"image_id": taken.id()})).await.refused(503, "DEPENDENCY_UNAVAILABLE");
        is_once(&mesh, &talk.answered("Without it, then.").await, 1).await;
        assert_eq!(talk.messages().await.len(), 6);
    });
}

/// A photo was taken in, and nobody says where it is when it is to be answered.
#[test]
fn a_photo_that_cannot_be_asked_for_is_answered_without_being_shown() {
    run(async {
        let mut mesh = mesh().split().start().await;
        let alice = mesh.persona("alice").await;
        let (talk, taken) = (Talk::of(&alice).await, seen(&alice, "bottle.jpg").await);
        fault(&mesh, json!({"kind": "stall", "ms": 30_000, "times": 1})).await;
        let long = talk.said("Tell me all of it.").await;
        let waits = talk.say(&json!({"image_id": taken.id(), "text": "This?"})).await.expect(202)["answer"].clone();
        mesh.node_mut(0, "image").kill().await;
        talk.ended(&long).await;
        let answer = talk.ended(&waits).await;
        assert!(text(&answer).starts_with("I have read "), "{answer}");
        is_once(&mesh, &answer, 1).await;
    });
}

/// A photo that the model cannot load is told of, and not shown.
#[test]
fn a_photo_that_the_model_cannot_have_costs_no_answer() {
    run(async {
        let mesh = mesh().start().await;
        let alice = mesh.persona("alice").await;
        let (talk, taken) = (Talk::of(&alice).await, seen(&alice, "can.png").await);
        let storage = json!({"provider": "s3", "endpoint": "get", "kind": "error", "status": 503, "times": 1});
        mesh.stand_ins.as_ref().unwrap().fault(&storage).await;
        let sent = talk.say(&json!({"image_id": taken.id(), "text": REPEAT})).await.expect(202);
        let answer = talk.ended(&sent["answer"]).await;
        assert!(text(&answer).contains("The photo shows: can"), "{answer}");
        is_once(&mesh, &answer, 1).await;
        mended(&mesh).await;
        let stalled = json!({"kind": "stall", "ms": FOREVER_MS, "times": 1, "endpoint": "vision"});
        fault(&mesh, stalled).await;
        let pending = talk.say(&json!({"image_id": taken.id()})).await.expect(202)["answer"].clone();
        let mut listener = talk.follow(&pending).await;
        assert!(!listener.piece().await.0.is_empty(), "{}", id(&pending));
    });
}
