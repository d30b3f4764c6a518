//! What the README says of my without a part of the mesh (O3): what works, what does not, and what comes back.

use coreloop_scan_api::v1::Category;
use coreloop_testkit::{Answer, Fault, Persona, TestMesh, mesh::Before, run, wait::wait_for, wait_until};
use serde_json::{Value, json};

use super::stage::{LONG, changed, counted, day, follow, mesh, owns, public, recycles, summary};
use crate::eco::character::stage::given;

const AWAY: &str = "DEPENDENCY_UNAVAILABLE";

/// What is answered in the end: a busy machine may be a moment late.
async fn answered(mut ask: impl AsyncFnMut() -> Answer, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_for("the answer", LONG, async || {
        let answer = ask().await;
        (answer.status == 200).then(|| answer.json()).filter(|answer| wanted(answer))
    })
    .await
}

/// Somebody with a character and something recycled, as my has heard of it.
async fn somebody(mesh: &TestMesh) -> Persona {
    let alice = mesh.persona("alice").await;
    given(mesh, &alice, "CHR001").await;
    recycles(mesh, &alice, Category::General, &day(mesh, 0)).await;
    counted(mesh, &alice, 1).await;
    owns(mesh, &alice, 1).await;
    alice
}

#[test]
fn without_character_a_summary_says_what_was_heard_and_names_it() {
    run(async {
        let mut mesh = mesh().setting("my.summary_cache_secs", 0_i64).split().start().await;
        let alice = somebody(&mesh).await;
        assert_eq!(summary(&alice).await["stale"], json!([]));
        mesh.node_mut(0, "character").kill().await;
        let ask = async || alice.get("/api/v1/my/summary").await;
        let seen = answered(ask, |seen| seen["stale"] == json!(["characters"])).await;
        assert_eq!((&seen["characters"]["owned"], &seen["recycling"]["recycled"]), (&json!(1), &json!(1)), "{seen}");
        // Of whom nothing was heard nobody can tell, and the rest is told all the same.
        let bob = mesh.persona("bob").await;
        let seen = summary(&bob).await;
        assert!(seen.get("characters").is_none_or(Value::is_null), "{seen}");
        assert_eq!((&seen["stale"], &seen["recycling"]["recycled"]), (&json!(["characters"]), &json!(0)));
        mesh.node_mut(0, "character").start().await;
        let ask = async || alice.get("/api/v1/my/summary").await;
        answered(ask, |seen| seen["stale"] == json!([])).await;
    });
}

#[test]
fn without_postgres_a_summary_is_as_it_was_last_and_nothing_changes() {
    run(async {
        let mesh = mesh().setting("my.summary_cache_secs", 0_i64).proxy(Before::Postgres).start().await;
        let (alice, bob) = (somebody(&mesh).await, mesh.persona("bob").await);
        let ask = async || alice.get("/api/v1/my/summary").await;
        let whole = answered(ask, |seen| seen["stale"] == json!([])).await;
        mesh.postgres_proxy.as_ref().unwrap().set(Fault::Cut);
        let seen = summary(&alice).await;
        assert_eq!((&seen["recycling"], &seen["streak"]), (&whole["recycling"], &whole["streak"]), "{seen}");
        let stale = seen["stale"].as_array().unwrap();
        assert!(stale.contains(&json!("recycling")) && stale.contains(&json!("streak")), "{seen}");
        alice.get("/api/v1/my/profile").await.refused(503, AWAY);
        alice.get("/api/v1/my/timeline").await.refused(503, AWAY);
        alice.get("/api/v1/my/badges").await.refused(503, AWAY);
        follow(&alice, &bob.user_id).await.refused(503, AWAY);
        mesh.postgres_proxy.as_ref().unwrap().heal();
        let ask = async || alice.get("/api/v1/my/summary").await;
        let back = answered(ask, |seen| seen["stale"] == json!([])).await;
        assert_eq!(back["recycling"], whole["recycling"]);
        wait_until("she follows", LONG, async || follow(&alice, &bob.user_id).await.status == 200).await;
    });
}

#[test]
fn without_redis_summaries_are_put_together_and_what_is_told_counts_later() {
    run(async {
        let mut mesh = mesh().setting("my.redis_timeout_ms", 300_i64).start().await;
        let alice = somebody(&mesh).await;
        mesh.redis.kill();
        let ask = async || alice.get("/api/v1/my/summary").await;
        let seen = answered(ask, |seen| seen["stale"] == json!([])).await;
        assert_eq!((&seen["characters"]["owned"], &seen["recycling"]["recycled"]), (&json!(1), &json!(1)));
        let ask = async || {
            let body = json!({"bio": "hello"});
            super::stage::patch(&alice, "/api/v1/my/profile", &body).await
        };
        answered(ask, |seen| seen["profile"]["bio"] == "hello").await;
        recycles(&mesh, &alice, Category::General, &day(&mesh, 0)).await;
        mesh.redis.resurrect().await;
        counted(&mesh, &alice, 2).await;
    });
}

#[test]
fn without_auth_who_is_known_here_is_shown_and_it_is_told_later() {
    run(async {
        let mut mesh = mesh().setting("my.retell_secs", 1_i64).split().start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let first = changed(&alice, &json!({"nickname": "ada"})).await;
        wait_until("auth knows", LONG, async || alice.me().await["nickname"] == "ada").await;
        mesh.node_mut(0, "auth").kill().await;
        assert_eq!(public(&mesh, &alice.user_id).await.expect(200)["user"]["nickname"], "ada");
        // Nobody here has asked who bob is.
        public(&mesh, &bob.user_id).await.refused(503, AWAY);
        for name in ["grace", "edith"] {
            changed(&alice, &json!({ "nickname": name })).await;
        }
        mesh.node_mut(0, "auth").start().await;
        let known = async || {
            let answer = alice.get("/api/v1/auth/me").await;
            answer.status == 200 && answer.json()["user"]["nickname"] == "edith"
        };
        wait_until("auth is told the last of it", LONG, known).await;
        let profile = alice.get("/api/v1/my/profile").await.expect(200)["profile"].clone();
        assert_eq!(profile["version"].as_i64().unwrap(), first["version"].as_i64().unwrap() + 2);
        wait_until("bob is shown", LONG, async || public(&mesh, &bob.user_id).await.status == 200).await;
    });
}

#[test]
fn without_image_a_picture_cannot_be_chosen_and_the_rest_can() {
    run(async {
        let mut mesh = mesh().split().start().await;
        let alice = mesh.persona("alice").await;
        let taken = crate::eco::stage::Taken::by(&alice, "can.png").await;
        mesh.node_mut(0, "image").kill().await;
        let picture = json!({"image_id": taken.id(), "bio": "with a picture"});
        super::stage::patch(&alice, "/api/v1/my/profile", &picture).await.refused(503, AWAY);
        let profile = changed(&alice, &json!({"bio": "without"})).await;
        assert_eq!(
            (&profile["bio"], &profile["image_id"]),
            (&json!("without"), &json!("")),
            "nothing of it was half done"
        );
        mesh.node_mut(0, "image").start().await;
        let ask = async || super::stage::patch(&alice, "/api/v1/my/profile", &picture).await;
        answered(ask, |seen| seen["profile"]["image_id"] == taken.id()).await;
    });
}

/// A hundred that auth will not have as they are keep nobody waiting.
#[test]
fn what_auth_refuses_keeps_nobody_else_from_being_told() {
    run(async {
        let mesh = mesh().setting("my.retell_secs", 1_i64).start().await;
        let alice = mesh.persona("alice").await;
        changed(&alice, &json!({"nickname": "ada"})).await;
        wait_until("auth knows", LONG, async || alice.me().await["nickname"] == "ada").await;
        // No change has the number 0, and no event tells of what is written here.
        let others = "insert into my.profiles (user_id, nickname, joined_at, version, told, updated_at)
                      select gen_random_uuid(), 'nobody', now(), 0, -1, '2020-01-01' from generate_series(1, 150)";
        mesh.db.execute(others).await;
        let hers = format!(
            "update my.profiles set nickname = 'edith', version = version + 1, updated_at = '2020-01-02'
              where user_id = '{}'",
            alice.user_id
        );
        mesh.db.execute(&hers).await;
        wait_until("auth is told", LONG, async || alice.me().await["nickname"] == "edith").await;
        let open = "select count(*) from my.profiles where told < version";
        wait_until("it is noted", LONG, async || mesh.db.count(open).await == 150).await;
    });
}
