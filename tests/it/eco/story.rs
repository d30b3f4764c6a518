//! The story of chapter 02, through Envoy, by REST and WebSocket: a photo becomes a character while its owner looks, or is told why it
//! does not; all that it causes is one trace.

mod offline;
mod replaying;
mod replicas;
pub mod stage;
mod tree;

use coreloop_testkit::{Persona, run, wait::wait_for, wait_until};
use serde_json::{Value, json};

use self::{
    stage::{
        MESH, all_said, fault, is_told, kinds, listen, mended, mesh, of_type, taken_in, task_of, told_in, trace, unread,
    },
    tree::whole,
};
use crate::eco::{
    character::stage::{mine, owned},
    stage::LONG,
};

/// From a span up to what began it all. Each is `<topic> by <consumer>`, or the name of a call.
const WAYS: &[&[&str]] = &[
    &["v1.ImageService/CreateUpload", "POST /api/v1/image/presigned", "ingress"],
    &["Authorization/Check", "ingress"],
    &[
        "events.notification.created by realtime.writer",
        "events.character.acquired by notification.facts",
        "events.scan.completed by character.grants",
        "events.image.registered by scan.facts",
        "v1.ImageService/RegisterImage",
        "POST /api/v1/image/callback",
        "ingress",
    ],
    &["vision_call", "scan.classify", "events.image.registered by scan.facts"],
    &["v1.ImageInternalService/FindImage", "scan.classify"],
    &["events.scan.completed by realtime.writer", "events.image.registered by scan.facts"],
    &["events.character.acquired by realtime.writer", "events.scan.completed by character.grants"],
    &["events.character.acquired by scan.facts", "events.scan.completed by character.grants"],
    &["events.character.acquired by my.facts", "events.scan.completed by character.grants"],
    &["events.my.footprint_moved by realtime.writer", "events.scan.completed by my.facts", "by scan.facts"],
    &["events.my.streak_moved by realtime.writer", "events.scan.completed by my.facts", "by scan.facts"],
];

#[test]
fn a_photo_becomes_a_character_while_its_owner_looks_and_all_of_it_is_one_trace() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, trace) = (mesh.persona("alice").await, trace());
        // Each replica's realtime has one of her sockets.
        let (mut socket, mut other) = (alice.socket().await, alice.at(&mesh.gateway_on(1)).socket().await);
        let image = taken_in(&alice, "bottle.jpg", &trace).await;
        let said = listen(&mut socket, all_said).await;
        assert_eq!(listen(&mut other, all_said).await, said);

        let of = |name: &str| &of_type(&said, name).unwrap()["data"];
        let scan = of("scan_update");
        assert_eq!((&scan["image_id"], &scan["status"]), (&image["image_id"], &json!("COMPLETED")), "{scan}");
        let category = scan["category"].as_str().unwrap().to_lowercase();
        assert!(category.ends_with("pet") && scan["reward_eligible"] == true, "{scan}");
        assert_eq!(
            (&of("reward_granted")["reward_type"], &of("reward_granted")["item"]),
            (&json!("CHARACTER"), &json!("CHR005"))
        );
        let moved = |name: &str| of("stats_delta")["deltas"][name].as_f64();
        assert_eq!(
            [moved("recycled"), moved("tree_milli"), moved("water_ml"), moved("co2_g")],
            [1.0, 20.0, 7_000.0, 230.0].map(Some)
        );
        assert_eq!(of("streak_update")["streak_count"].as_f64(), Some(1.0));
        assert_eq!(kinds(&said), ["CHARACTER_ACQUIRED"]);
        let places: Vec<i64> = said.iter().map(|message| message["seq"].as_i64().unwrap()).collect();
        assert!(places.is_sorted_by(|one, next| one < next), "{places:?}");
        assert!(said.iter().all(|message| message["user_id"] == *alice.user_id), "{said:?}");

        is_read(&alice, &image, &said).await;
        let told =
            [("image", "registered"), ("scan", "completed"), ("character", "acquired"), ("my", "footprint_moved")];
        for (schema, fact) in told.into_iter().chain([("my", "streak_moved"), ("notification", "created")]) {
            assert_eq!(told_in(mesh, schema, fact, &trace).await, 1, "{schema}.{fact}");
        }
        whole(mesh, &trace, WAYS).await;
    });
}

/// What was said is what REST answers.
async fn is_read(who: &Persona, image: &Value, said: &[Value]) {
    let of = |name: &str| &of_type(said, name).unwrap()["data"];
    let scan = of("scan_update");
    let task = wait_for("the reward is noted", LONG, async || {
        Some(task_of(who, scan).await).filter(|task| task["reward_status"] == "REWARD_STATUS_GRANTED")
    })
    .await;
    assert_eq!((&task["image_id"], &task["category"]), (&image["image_id"], &json!("CATEGORY_PET")));
    let path = format!("/api/v1/image/{}", image["image_id"].as_str().unwrap());
    let seen = wait_for("scan is asked in time", LONG, async || {
        Some(who.get(&path).await.expect(200)).filter(|seen| seen["analysis_stale"] != true)
    })
    .await;
    for (name, value) in seen["analysis"].as_object().unwrap() {
        assert_eq!(value, &task[name], "{name}");
    }
    assert_eq!(owned(&mine(who).await), ["CHR005"]);
    let summary = wait_for("the character is counted", LONG, async || {
        let summary = who.get("/api/v1/my/summary").await.expect(200);
        (summary["characters"]["owned"] == 1 && summary["stale"] == json!([])).then_some(summary)
    })
    .await;
    assert_eq!((&summary["recycling"]["recycled"], &summary["streak"]["current"]), (&json!(1), &json!(1)), "{summary}");
    assert_eq!(summary["recycling"]["impact"], json!({"tree_milli": 20, "water_ml": 7_000, "co2_g": 230}));
    let inbox = who.get("/api/v1/notifications").await.expect(200)["notifications"].clone();
    assert_eq!((&inbox[0]["notification_id"], &inbox[1]), (&of("notification")["notification_id"], &Value::Null));
    assert_eq!(unread(who).await, 1);
}

/// From the notification on the socket up to the photo that nothing came of.
const REFUSED: &[&[&str]] = &[
    &[
        "events.notification.created by realtime.writer",
        "events.character.acquire_failed by notification.facts",
        "events.scan.completed by character.grants",
        "events.image.registered by scan.facts",
        "POST /api/v1/image/callback",
    ],
    &["events.character.acquire_failed by scan.facts", "events.scan.completed by character.grants"],
];

#[test]
fn who_has_as_many_characters_as_they_may_is_told_so_and_the_scan_is_compensated() {
    run(async {
        let mesh = MESH.get().await;
        let (bob, first, second) = (mesh.persona("bob").await, trace(), trace());
        let mut socket = bob.socket().await;
        taken_in(&bob, "bottle.jpg", &first).await;
        listen(&mut socket, all_said).await;
        taken_in(&bob, "can.png", &second).await;
        let ended =
            |said: &[Value]| kinds(said) == ["CHARACTER_ACQUIRE_FAILED"] && of_type(said, "scan_update").is_some();
        let said = listen(&mut socket, ended).await;
        let scan = &of_type(&said, "scan_update").unwrap()["data"];
        assert_eq!(scan["reward_eligible"], true, "{scan}");
        assert_eq!(of_type(&said, "reward_granted"), None);
        let failed = &of_type(&said, "notification").unwrap()["data"];
        assert_eq!(failed["data"]["reason"], "max_characters_reached", "{failed}");
        let task = wait_for("it is noted", LONG, async || {
            Some(task_of(&bob, scan).await).filter(|task| task["reward_status"] == "REWARD_STATUS_FAILED")
        })
        .await;
        assert_eq!(task["reward_reason"], "max_characters_reached");
        assert_eq!(owned(&mine(&bob).await), ["CHR005"]);
        assert_eq!(told_in(mesh, "scan", "reward_compensated", &second).await, 1);
        assert_eq!(told_in(mesh, "character", "acquired", &second).await, 0);
        // It was recycled all the same.
        let summary = wait_for("both count", LONG, async || {
            let summary = bob.get("/api/v1/my/summary").await.expect(200);
            (summary["recycling"]["recycled"] == 2).then_some(summary)
        })
        .await;
        assert_eq!((&summary["characters"]["owned"], &summary["streak"]["current"]), (&json!(1), &json!(1)));
        assert_eq!(unread(&bob).await, 2);
        whole(mesh, &second, REFUSED).await;
    });
}

#[test]
fn a_photo_of_the_night_earns_nothing() {
    run(async {
        let mesh = MESH.get().await;
        let (carol, dark, light) = (mesh.persona("carol").await, trace(), trace());
        let mut socket = carol.socket().await;
        taken_in(&carol, "night.jpg", &dark).await;
        let said = listen(&mut socket, |said| of_type(said, "scan_update").is_some()).await;
        let scan = of_type(&said, "scan_update").unwrap()["data"].clone();
        assert_eq!((&scan["status"], &scan["reward_eligible"]), (&json!("COMPLETED"), &json!(false)), "{scan}");
        assert!(scan["confidence"].as_f64().unwrap() < 0.6, "{scan}");
        let task = task_of(&carol, &scan).await;
        assert_eq!(
            (&task["reward_status"], &task["reward_reason"]),
            (&json!("REWARD_STATUS_NONE"), &json!("LOW_CONFIDENCE"))
        );
        // What comes behind it has seen it pass.
        taken_in(&carol, "bottle.jpg", &light).await;
        let later = listen(&mut socket, |said| !kinds(said).is_empty() && of_type(said, "stats_delta").is_some()).await;
        assert_eq!(kinds(&later), ["CHARACTER_ACQUIRED"]);
        for (schema, facts) in [("character", "%"), ("my", "%"), ("notification", "%"), ("scan", "reward_compensated")]
        {
            assert_eq!(told_in(mesh, schema, facts, &dark).await, 0, "{schema}");
        }
        assert_eq!(owned(&mine(&carol).await), ["CHR005"]);
        let footprints = format!("select sum(scans)::bigint from my.footprints where user_id = '{}'", carol.user_id);
        assert_eq!((mesh.db.count(&footprints).await, unread(&carol).await), (1, 1));
    });
}

#[test]
fn a_provider_that_is_offline_is_told_and_the_photo_counts_when_it_is_back() {
    run(async {
        // Each failure is known at once, and none keeps others from asking.
        let once = mesh().modules(&["image", "scan", "character", "my", "notification", "realtime", "ops"]);
        let once = once.setting("scan.model_tries", 1_i64).setting("scan.breaker_failures", 1_000_000_i64);
        let mesh = once.envoy().start().await;
        let (admin, alice, trace) = (mesh.admin().await, mesh.persona("alice").await, trace());
        let mut socket = alice.socket().await;
        fault(&mesh, &json!({"kind": "error", "status": 503})).await;
        taken_in(&alice, "bottle.jpg", &trace).await;
        let said =
            listen(&mut socket, |said| is_told(said, "SCAN_FAILED") && of_type(said, "scan_update").is_some()).await;
        let scan = &of_type(&said, "scan_update").unwrap()["data"];
        assert_eq!((&scan["status"], &scan["reason"]), (&json!("FAILED"), &json!("MODEL_UNAVAILABLE")), "{scan}");
        let task = task_of(&alice, scan).await;
        assert_eq!((&task["state"], &task["failure"]), (&json!("TASK_STATE_FAILED"), &json!("MODEL_UNAVAILABLE")));
        assert_eq!(owned(&mine(&alice).await), Vec::<&str>::new());
        assert_eq!((told_in(&mesh, "scan", "failed", &trace).await, unread(&alice).await), (1, 1));

        mended(&mesh).await;
        wait_until("it is a dead letter", LONG, async || {
            let letters = admin.get("/admin/dlq/scan.classify").await.expect(200);
            letters["dead_letters"].as_array().is_some_and(|letters| letters.len() == 1)
        })
        .await;
        let again = json!({"queue": "scan.classify", "count": 1});
        assert_eq!(admin.post("/admin/dlq/reprocess", &again).await.expect(200)["reprocessed"], 1);
        let said = listen(&mut socket, |said| is_told(said, "CHARACTER_ACQUIRED")).await;
        let granted = wait_for("it is granted", LONG, async || {
            Some(task_of(&alice, scan).await).filter(|task| task["reward_status"] == "REWARD_STATUS_GRANTED")
        })
        .await;
        assert_eq!(granted["state"], "TASK_STATE_COMPLETED");
        assert_eq!(kinds(&said), ["CHARACTER_ACQUIRED"]);
        assert_eq!(owned(&mine(&alice).await), ["CHR005"]);
        assert_eq!(told_in(&mesh, "scan", "completed", &trace).await, 1);
    });
}
