//! The model fails in every way, makes no sense, or refuses; the image service is away. A photo is classified in the end, or told as
//! failed, once.

use coreloop_testkit::{Persona, StandIns, TestMesh, mesh::Builder, run, wait_until};
use serde_json::json;

use super::stage::{
    came_to_nothing, ended, fault, found, held, is_once, looks, mended, mesh, scanned, task, told, white,
};
use crate::eco::stage::{LONG, Taken};

async fn begun(builder: Builder) -> (TestMesh, Persona) {
    let mesh = builder.start().await;
    let alice = mesh.persona("alice").await;
    (mesh, alice)
}

#[test]
fn a_model_that_stumbles_is_asked_again() {
    run(async {
        let (mesh, alice) = begun(mesh()).await;
        for change in [
            json!({"kind": "error", "status": 429, "times": 1}),
            json!({"kind": "error", "status": 500, "times": 1}),
            json!({"kind": "error", "status": 503, "times": 2}),
            json!({"kind": "garbage", "times": 1}),
            json!({"kind": "cut", "times": 1}),
            json!({"kind": "reset", "times": 1}),
            json!({"kind": "lost", "times": 1}),
        ] {
            let before = looks(&mesh).await;
            fault(&mesh, change.clone()).await;
            let task = scanned(&alice, "bottle.jpg").await;
            found(&task, "CATEGORY_PET");
            is_once(&mesh, &alice, &task).await;
            assert!(looks(&mesh).await - before >= 2, "{change} met nobody");
        }
        assert_eq!(held(&mesh, "dead").await, 0);
    });
}

#[test]
fn a_quota_that_is_used_up_is_waited_for() {
    run(async {
        // It is asked for again after a moment each time, for as long as the test needs.
        let (mesh, alice) = begun(mesh().setting("scan.breaker_failures", 1_000_000_i64)).await;
        fault(&mesh, json!({"kind": "quota"})).await;
        let taken = Taken::by(&alice, "can.png").await;
        wait_until("it is refused", LONG, async || looks(&mesh).await > 0).await;
        mended(&mesh).await;
        found(&ended(&alice, taken.id()).await, "CATEGORY_CAN");
    });
}

#[test]
fn a_model_that_says_nothing_is_given_up_in_time_and_asked_again() {
    run(async {
        let (mesh, alice) = begun(mesh().setting("scan.model_timeout_ms", 5_000_i64)).await;
        fault(&mesh, json!({"kind": "timeout", "ms": 120_000, "times": 1})).await;
        found(&scanned(&alice, "jar.webp").await, "CATEGORY_GLASS");
    });
}

#[test]
fn nonsense_is_asked_for_once_more_and_then_is_no_result() {
    run(async {
        let (mesh, alice) = begun(mesh()).await;
        let taken = white(&alice).await;
        let task = ended(&alice, taken.id()).await;
        came_to_nothing(&task, "MODEL_NONSENSE");
        assert_eq!(looks(&mesh).await, 2, "once, and once more");
        assert_eq!((told(&mesh, "failed", &task).await, told(&mesh, "completed", &task).await), (1, 0));
        let counted = "select (select count(*) from scan.daily) + (select count(*) from scan.earned)";
        assert_eq!(mesh.db.count(counted).await, 0);
        // It is nobody's to mend.
        assert_eq!(held(&mesh, "dead").await, 0);
        let stats = alice.get("/api/v1/scan/stats").await.expect(200);
        assert_eq!(stats["today"]["total"], 0);
    });
}

#[test]
fn a_plain_classifier_does_as_well() {
    run(async {
        // Somebody else's, beside the mesh's own stand-ins.
        let others = StandIns::start().await;
        let builder = mesh().setting("scan.model_style", "plain");
        let (mesh, alice) = begun(builder.setting("scan.model_url", format!("{}/classify", others.base()))).await;
        let taken = Taken::by(&alice, "box.jpg").await;
        found(&ended(&alice, taken.id()).await, "CATEGORY_PAPER");
        assert_eq!((looks(&mesh).await, others.requests("openai/classify").await), (0, 1));
        // Nonsense is nonsense here, too.
        came_to_nothing(&ended(&alice, white(&alice).await.id()).await, "MODEL_NONSENSE");
        assert_eq!(others.requests("openai/classify").await, 3);
    });
}

#[test]
fn a_wrong_key_is_a_dead_letter_that_can_be_tried_again() {
    run(async {
        let (mesh, alice) = begun(mesh().modules(&["image", "ops", "scan"])).await;
        fault(&mesh, json!({"kind": "error", "status": 401})).await;
        let taken = Taken::by(&alice, "can.png").await;
        let failed = ended(&alice, taken.id()).await;
        came_to_nothing(&failed, "MODEL_REFUSED");
        assert_eq!((looks(&mesh).await, held(&mesh, "dead").await), (1, 1), "asking again would not help");
        assert_eq!(told(&mesh, "failed", &failed).await, 1);
        // Mended, and tried again by hand: it has a result after all.
        mended(&mesh).await;
        let again = json!({"queue": "scan.classify", "count": 10, "filter_reason": "MODEL_REFUSED"});
        let admin = mesh.admin().await;
        assert_eq!(admin.post("/admin/dlq/reprocess", &again).await.expect(200)["reprocessed"], 1);
        let done = task(&alice, taken.id(), |task| task["state"] == "TASK_STATE_COMPLETED").await;
        found(&done, "CATEGORY_CAN");
        assert_eq!((&done["failure"], &done["reward_eligible"]), (&json!(""), &json!(true)));
        assert_eq!((told(&mesh, "failed", &done).await, told(&mesh, "completed", &done).await), (1, 1));
        wait_until("no letter is left", LONG, async || held(&mesh, "dead").await == 0).await;
    });
}

#[test]
fn a_model_that_goes_on_failing_is_left_alone() {
    run(async {
        let builder = mesh().setting("scan.breaker_failures", 2_i64).setting("scan.breaker_secs", 3_600_i64);
        let (mesh, alice) = begun(builder).await;
        fault(&mesh, json!({"kind": "error", "status": 500})).await;
        came_to_nothing(&scanned(&alice, "can.png").await, "MODEL_LEFT_ALONE");
        came_to_nothing(&scanned(&alice, "box.jpg").await, "MODEL_LEFT_ALONE");
        assert_eq!(looks(&mesh).await, 2, "nobody asked any more");
        let metrics = mesh.node(0, "scan").running().metrics.encode();
        assert!(metrics.lines().any(|line| line == "scan_breaker_open 1"), "{metrics}");
        assert_eq!(held(&mesh, "dead").await, 2);
    });
}

#[test]
fn tries_that_are_used_up_are_told() {
    run(async {
        let (mesh, alice) = begun(mesh().setting("scan.breaker_failures", 1_000_000_i64)).await;
        fault(&mesh, json!({"kind": "error", "status": 500})).await;
        let task = scanned(&alice, "can.png").await;
        came_to_nothing(&task, "MODEL_UNAVAILABLE");
        // Four tries of the command, three requests each.
        assert_eq!((looks(&mesh).await, held(&mesh, "dead").await), (12, 1));
        assert_eq!(told(&mesh, "failed", &task).await, 1);
    });
}

#[test]
fn a_photo_waits_for_the_image_service() {
    run(async {
        let builder = TestMesh::builder().modules(&["image", "scan"]).stand_ins().split();
        let builder = builder.setting("limit.enabled", false).toml("[eventing]\nretry_delays_secs = [5, 15, 30]\n");
        let (mut mesh, alice) = begun(builder).await;
        let known = scanned(&alice, "bottle.jpg").await;
        mesh.node_mut(0, "scan").stop().await;
        let taken = Taken::by(&alice, "can.png").await;
        let published = "select count(*) from image.outbox_relay where read_to >= (select max(seq) from image.outbox)";
        wait_until("it is told", LONG, async || mesh.db.count(published).await == 1).await;
        mesh.node_mut(0, "image").kill().await;
        mesh.node_mut(0, "scan").start().await;
        wait_until("it was looked for", LONG, async || held(&mesh, "retry").await == 1).await;
        // What is there is answered meanwhile; what needs the photo is not.
        let path = format!("/api/v1/scan/tasks/{}", known["task_id"].as_str().unwrap());
        assert_eq!(alice.get(&path).await.expect(200)["task"], known);
        assert_eq!(alice.get("/api/v1/scan/stats").await.expect(200)["today"]["total"], 1);
        let asked = json!({"image_id": uuid::Uuid::new_v4().to_string()});
        alice.post("/api/v1/scan/classify", &asked).await.refused(503, "DEPENDENCY_UNAVAILABLE");
        mesh.node_mut(0, "image").start().await;
        found(&ended(&alice, taken.id()).await, "CATEGORY_CAN");
    });
}
