//! The model refuses or makes no sense, the push gateway is away: people see the state that the contract names, nothing is half-done, and
//! what was waiting ends by itself when they are back.

use coreloop_testkit::{Persona, TestMesh, mesh::Builder, run, wait::wait_for, wait_until};
use serde_json::{Value, json};

use super::stage::{
    MESH, MODULES, all_said, fault, is_told, kinds, listen, mended, of_type, taken_in, task_of, told_in, trace, unread,
};
use crate::eco::{
    character::stage::{mine, owned},
    notification::stage::{self as phones, phone, pushed, pushes, registered, sends},
    scan::stage::{looks, white},
    stage::{LONG, Taken},
};

/// What fails is tried again every other second, for longer than a test takes; nobody who fails is left alone meanwhile.
fn patient() -> Builder {
    let tries = ["2"; 20].join(", ");
    TestMesh::builder()
        .modules(MODULES)
        .stand_ins()
        .envoy()
        .setting("limit.enabled", false)
        .setting("scan.model_tries", 1_i64)
        .setting("scan.breaker_failures", 1_000_000_i64)
        .setting("my.summary_cache_secs", 0_i64)
        .setting("character.redis_timeout_ms", 10_000_i64)
        .setting("redis.response_timeout_ms", 10_000_i64)
        .setting("notification.push_timeout_ms", 20_000_i64)
        .toml(&format!("[eventing]\nretry_delays_secs = [{tries}]\npoll_ms = 100\nstandby_ms = 100\n"))
}

/// What scan says of somebody's image, as they see it.
async fn analysis(who: &Persona, image: &Value) -> Value {
    let path = format!("/api/v1/image/{}", image["image_id"].as_str().unwrap());
    wait_for("scan is asked in time", LONG, async || {
        let seen = who.get(&path).await.expect(200);
        (seen["analysis_stale"] != true).then(|| seen["analysis"].clone())
    })
    .await
}

/// Nothing has come of anything of somebody's.
async fn nothing_came(mesh: &TestMesh, who: &Persona, trace: &str) {
    for (schema, facts) in
        [("scan", "completed"), ("scan", "failed"), ("character", "%"), ("my", "%"), ("notification", "%")]
    {
        assert_eq!(told_in(mesh, schema, facts, trace).await, 0, "{schema}.{facts}");
    }
    let rows = format!(
        "select (select count(*) from scan.earned where user_id = who) + (select count(*) from scan.daily where user_id = who)
              + (select count(*) from character.grants where user_id = who) + (select count(*) from my.heard where user_id = who)
           from (values ('{}'::uuid)) of_them (who)",
        who.user_id
    );
    assert_eq!(mesh.db.count(&rows).await, 0);
    assert_eq!((owned(&mine(who).await), unread(who).await), (Vec::<&str>::new(), 0));
    let summary = who.get("/api/v1/my/summary").await.expect(200);
    assert_eq!((&summary["recycling"]["recycled"], &summary["streak"]["current"]), (&json!(0), &json!(0)), "{summary}");
}

#[test]
fn a_model_that_refuses_and_a_gateway_that_is_away_are_waited_for() {
    run(async {
        let mesh = patient().start().await;
        let (alice, first, second) = (mesh.persona("alice").await, trace(), trace());
        let token = phone("own");
        registered(&alice, &token).await;
        let mut socket = alice.socket().await;

        fault(&mesh, &json!({"kind": "error", "status": 429})).await;
        let image = taken_in(&alice, "bottle.jpg", &first).await;
        wait_until("the model has refused", LONG, async || looks(&mesh).await > 0).await;
        let waiting = analysis(&alice, &image).await;
        assert_eq!((&waiting["state"], &waiting["failure"]), (&json!("TASK_STATE_QUEUED"), &json!("")), "{waiting}");
        nothing_came(&mesh, &alice, &first).await;
        mended(&mesh).await;
        let said = listen(&mut socket, all_said).await;
        assert_eq!(kinds(&said), ["CHARACTER_ACQUIRED"]);
        assert_eq!(analysis(&alice, &image).await["state"], "TASK_STATE_COMPLETED");
        assert_eq!(
            (told_in(&mesh, "scan", "completed", &first).await, told_in(&mesh, "scan", "failed", &first).await),
            (1, 0)
        );
        pushed(&mesh, &token, 1).await;

        // Whoever looks is told all the same; the phone rings when its gateway is back, once.
        phones::fault(&mesh, &json!({"kind": "error", "status": 503})).await;
        let asked = sends(&mesh).await;
        taken_in(&alice, "can.png", &second).await;
        let said =
            listen(&mut socket, |said| is_told(said, "CHARACTER_ACQUIRED") && of_type(said, "stats_delta").is_some())
                .await;
        wait_until("the gateway was asked", LONG, async || sends(&mesh).await > asked).await;
        assert_eq!((pushes(&mesh, &token).await.len(), unread(&alice).await), (1, 2));
        mended(&mesh).await;
        let code = of_type(&said, "notification").unwrap()["data"]["data"]["code"].clone();
        let rang = pushed(&mesh, &token, 2).await;
        assert_eq!((rang.len(), &rang[1]["data"]["code"]), (2, &code));
        let given_up = "select (select count(*) from scan.held_events where state = 'dead')
                             + (select count(*) from notification.held_events where state = 'dead')";
        assert_eq!(mesh.db.count(given_up).await, 0);
    });
}

#[test]
fn a_photo_of_which_the_model_says_nonsense_is_told_as_failed_and_the_next_one_counts() {
    run(async {
        let mesh = MESH.get().await;
        let dora = mesh.persona("dora").await;
        let mut socket = dora.socket().await;
        let taken = white(&dora).await;
        let said =
            listen(&mut socket, |said| is_told(said, "SCAN_FAILED") && of_type(said, "scan_update").is_some()).await;
        let scan = &of_type(&said, "scan_update").unwrap()["data"];
        assert_eq!(
            (&scan["image_id"], &scan["status"], &scan["reason"]),
            (&json!(taken.id()), &json!("FAILED"), &json!("MODEL_NONSENSE")),
            "{scan}"
        );
        let task = task_of(&dora, scan).await;
        assert_eq!((&task["state"], &task["failure"]), (&json!("TASK_STATE_FAILED"), &json!("MODEL_NONSENSE")));
        assert_eq!((owned(&mine(&dora).await), unread(&dora).await), (Vec::<&str>::new(), 1));
        let counted = format!(
            "select (select count(*) from my.heard where user_id = who) + (select count(*) from character.grants where user_id = who)
               from (values ('{}'::uuid)) of_them (who)",
            dora.user_id
        );
        assert_eq!(mesh.db.count(&counted).await, 0);
        Taken::by(&dora, "bottle.jpg").await;
        let later = listen(&mut socket, all_said).await;
        assert_eq!(kinds(&later), ["CHARACTER_ACQUIRED"]);
        assert_eq!((owned(&mine(&dora).await), unread(&dora).await), (vec!["CHR005"], 2));
    });
}
