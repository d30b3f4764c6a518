//! What the README says of characters without a part of the mesh (O3): what works, what does not, and what comes back.

use coreloop_testkit::{Answer, Fault, Persona, TestMesh, mesh::Before, run, wait::wait_for};
use serde_json::{Value, json};

use super::stage::{LONG, given, happened, mesh, mine, of, owned, view, wait_for_view};

const AWAY: &str = "DEPENDENCY_UNAVAILABLE";

/// What is answered in the end: a busy machine may be a moment late.
async fn answered(mut ask: impl AsyncFnMut() -> Answer) -> Value {
    wait_for("an answer", LONG, async || Some(ask().await).filter(|answer| answer.status == 200)).await.json()
}

async fn owner(mesh: &TestMesh) -> Persona {
    let alice = mesh.persona("alice").await;
    given(mesh, &alice, "CHR001").await;
    wait_for_view(mesh, &alice).await;
    alice
}

#[test]
fn without_postgres_what_redis_has_is_shown_and_nothing_changes() {
    run(async {
        let mut mesh = mesh().split().proxy(Before::Postgres).start().await;
        let alice = owner(&mesh).await;
        // The catalogue stands in Redis for who starts without a database.
        let admin = mesh.admin().await;
        let gift = json!({
            "code": "CHR900", "name": {"en": "Nova", "ko": "노바"}, "lore": {"en": "A star.", "ko": "별."},
            "type_label": {"en": "Star", "ko": "별"}, "position": 900, "active": true,
            "unlock": {"condition_type": "campaign", "threshold": 0, "metadata": {}},
        });
        admin.post("/admin/characters", &gift).await.expect(200);
        let shown = answered(async || alice.get("/api/v1/character/catalog").await).await;

        mesh.postgres_proxy.as_ref().unwrap().set(Fault::Cut);
        assert_eq!(answered(async || alice.get("/api/v1/character/catalog").await).await, shown);
        let seen = answered(async || alice.get("/api/v1/character/me").await).await;
        assert_eq!((owned(&seen), &seen["version"]), (vec!["CHR001"], &json!(1)));
        assert!(of(&seen, "CHR002").get("progress").is_none_or(Value::is_null), "{seen}");
        let ranking = answered(async || alice.get("/api/v1/characters/ranking").await).await;
        assert_eq!(ranking["me"]["characters"], 1);
        alice.post("/api/v1/character/unlock", &json!({"code": "CHR002"})).await.refused(503, AWAY);
        alice.get("/api/v1/character/me/history").await.refused(503, AWAY);
        alice.get("/api/v1/character/me?as_of=2026-11-22T00:00:00Z").await.refused(503, AWAY);

        let node = mesh.node_mut(0, "character");
        node.kill().await;
        node.start_unready().await;
        assert_eq!(answered(async || alice.get("/api/v1/character/catalog").await).await, shown);
        mesh.postgres_proxy.as_ref().unwrap().heal();
        wait_for("progress is told again", LONG, async || {
            let answer = alice.get("/api/v1/character/me").await;
            (answer.status == 200 && of(&answer.json(), "CHR002")["progress"].is_number()).then_some(())
        })
        .await;
    });
}

#[test]
fn without_redis_the_ranking_alone_is_not_there_and_a_redis_that_forgot_is_told_again() {
    run(async {
        // A Redis that is gone is looked for again by each call, which does not wait long for that.
        let mut mesh = mesh().setting("character.redis_timeout_ms", 300_i64).start().await;
        let alice = owner(&mesh).await;
        mesh.redis.kill();
        let seen = answered(async || alice.get("/api/v1/character/me").await).await;
        assert_eq!(owned(&seen), ["CHR001"]);
        answered(async || alice.get("/api/v1/character/catalog").await).await;
        assert_eq!(alice.get("/api/v1/characters/ranking").await.status, 503);
        alice.post("/api/v1/character/unlock", &json!({"code": "CHR002"})).await.refused(400, "CONDITION_NOT_MET");
        mesh.redis.resurrect().await;
        // The relay tells again what the broker has forgotten, and with it what the views are made of.
        wait_for("the view is there again", LONG, async || {
            (view(&mesh, &alice.user_id).await.0 == happened(&mesh, &alice).await).then_some(())
        })
        .await;
        let ranking = answered(async || alice.get("/api/v1/characters/ranking").await).await;
        assert_eq!(ranking["total"], 1);
        assert_eq!(owned(&mine(&alice).await), ["CHR001"]);
    });
}
