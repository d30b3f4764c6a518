//! What the README says of ops without a part of the mesh (O3): what works, what does not, and that acts of other services wait and are
//! in the audit after, once. Without brokers of their own: `rewards/brokers.rs`.

use coreloop_testkit::{
    Answer, Fault, Persona, TestMesh,
    mesh::Before,
    run,
    wait::{PATIENCE, wait_for, wait_until},
};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{
    rewards::stage::campaign,
    shop::away::{AWAY, BLIND, UNKNOWN, blindly, refused_in_the_end},
};

/// What only looks.
const LOOKS: [&str; 6] = [
    "/admin/audit",
    "/admin/dashboard",
    "/admin/dlq",
    "/admin/dlq/auth.greeter",
    "/admin/health",
    "/admin/maintenance/runs",
];

/// Makes a dead letter of a queue of auth.
async fn die(mesh: &TestMesh) {
    let letter =
        "insert into auth.held_events (consumer, id, topic, key, envelope, payload, state, failures, reason, error, held_at, due_at)
         values ('auth.greeter', gen_random_uuid(), 'events.auth.x', 'k', '{}', '', 'dead', 3, 'POISON', 'e', now(), now())";
    mesh.db.execute(letter).await;
}

async fn dead(mesh: &TestMesh) -> i64 {
    mesh.db.count("select count(*) from auth.held_events where state = 'dead'").await
}

async fn discard(admin: &Persona) -> Answer {
    admin.post("/admin/dlq/discard", &json!({"queue": "auth.greeter", "count": 1})).await
}

/// Does something in another service.
pub async fn act(admin: &Persona, max_grants: i64) {
    admin.post("/admin/rewards/campaigns", &campaign("summer", 30, max_grants)).await.expect(200);
}

/// How often that is in the audit.
pub async fn acts(mesh: &TestMesh) -> i64 {
    mesh.db.count("select count(*) from ops.audits where action = 'rewards.campaign.put' and subject = 'summer'").await
}

pub async fn is_audited(mesh: &TestMesh, acted: i64) {
    wait_until("the act is in the audit", PATIENCE, async || acts(mesh).await >= acted).await;
    assert_eq!(acts(mesh).await, acted);
}

async fn check(admin: &Persona, checks: &[&str]) -> Answer {
    admin.post("/admin/maintenance/integrity-check", &json!({ "checks": checks })).await
}

/// What a check came to.
async fn checked(admin: &Persona, what: &str) -> Value {
    let asked = check(admin, &[what]).await.expect(202);
    let path = format!("/admin/maintenance/runs/{}", asked["runs"][0]["id"].as_str().unwrap());
    wait_for(format!("{what} has ended"), PATIENCE, async || {
        let run = admin.get(&path).await.expect(200)["run"].clone();
        ["RUN_STATE_DONE", "RUN_STATE_FAILED"].iter().any(|state| run["state"] == **state).then_some(run)
    })
    .await
}

async fn is_sound(admin: &Persona, what: &str) {
    let run = checked(admin, what).await;
    assert_eq!((&run["state"], &run["sound"]), (&json!("RUN_STATE_DONE"), &json!(true)), "{run}");
}

async fn fails(admin: &Persona, what: &str) {
    let run = checked(admin, what).await;
    assert_eq!(run["state"], "RUN_STATE_FAILED", "{run}");
    assert_ne!(run["error"], "", "{run}");
}

/// Who is told of as away, by the queues and by health.
async fn unreachable(admin: &Persona) -> (Value, Vec<Value>) {
    let queues = admin.get("/admin/dlq").await.expect(200);
    let health = admin.get("/admin/health").await.expect(200);
    let services = health["services"].as_array().unwrap().iter();
    let down: Vec<Value> = services.filter(|one| one["up"] != true).map(|one| one["service"].clone()).collect();
    assert_eq!(health["up"].as_bool().unwrap_or_default(), down.is_empty(), "{health}");
    (queues["unreachable"].clone(), down)
}

/// These are told of, and nobody else; one that is only slow to answer is told of for that moment.
async fn are_away(admin: &Persona, services: &[&str]) {
    let named: Vec<Value> = services.iter().map(|name| json!(name)).collect();
    let what = format!("{services:?} are away");
    wait_until(what, PATIENCE, async || unreachable(admin).await == (json!(named), named.clone())).await;
}

async fn nobody_is_away(admin: &Persona) {
    wait_until("nobody is away", PATIENCE, async || unreachable(admin).await == (json!([]), Vec::new())).await;
}

#[test]
fn without_a_service_its_queues_and_checks_are_missed_and_nothing_else() {
    run(async {
        let mut mesh = TestMesh::builder().split().setting("ops.runs_secs", 1_i64).start().await;
        let admin = mesh.admin().await;
        die(&mesh).await;
        nobody_is_away(&admin).await;
        mesh.node_mut(0, "rewards").kill().await;
        are_away(&admin, &["rewards"]).await;
        assert_eq!(admin.get("/admin/dlq").await.expect(200)["queues"][0]["queue"], "auth.greeter");
        admin.get("/admin/dlq/rewards.issue").await.refused(503, AWAY);
        let again = json!({"queue": "rewards.issue", "count": 1});
        admin.post("/admin/dlq/reprocess", &again).await.refused(503, AWAY);
        is_sound(&admin, "wallet.ledger").await;
        fails(&admin, "rewards.ended").await;
        assert_eq!(check(&admin, &["ops.audit"]).await.expect(202)["unreachable"], json!(["rewards"]));
        assert_eq!(discard(&admin).await.expect(200)["discarded"], 1);
        let failed = admin.get("/admin/audit?step=failed").await.expect(200);
        assert_eq!(failed["rows"].as_array().unwrap().len(), 2, "{failed}");
        mesh.node_mut(0, "rewards").start().await;
        nobody_is_away(&admin).await;
        admin.get("/admin/dlq/rewards.issue").await.expect(200);
        is_sound(&admin, "rewards.ended").await;
        // Without ops nobody looks, and nobody else is hindered.
        mesh.node_mut(0, "ops").kill().await;
        admin.get("/admin/audit").await.refused(503, AWAY);
        act(&admin, 3).await;
        mesh.node_mut(0, "ops").start().await;
        is_audited(&mesh, 1).await;
    });
}

#[test]
fn without_auth_ops_asks_others_as_long_as_it_has_a_token() {
    run(async {
        let mut mesh = TestMesh::builder().split().setting("ops.runs_secs", 1_i64).start().await;
        let admin = mesh.admin().await;
        nobody_is_away(&admin).await;
        mesh.node_mut(0, "auth").kill().await;
        are_away(&admin, &["auth"]).await;
        // Past the half of its life another is asked for in vain.
        mesh.clock.advance(SignedDuration::from_secs(200));
        are_away(&admin, &["auth"]).await;
        is_sound(&admin, "wallet.ledger").await;
        mesh.clock.advance(SignedDuration::from_secs(95));
        are_away(&admin, &["auth", "edge", "ops", "rewards", "shop", "wallet"]).await;
        fails(&admin, "wallet.ledger").await;
        // What is the database's, and what is asked with the administrator's own token.
        admin.get("/admin/audit").await.expect(200);
        admin.get("/admin/maintenance/runs").await.expect(200);
        is_sound(&admin, "ops.audit").await;
        admin.get("/admin/dlq/rewards.issue").await.expect(200);
        mesh.node_mut(0, "auth").start().await;
        nobody_is_away(&admin).await;
        is_sound(&admin, "wallet.ledger").await;
    });
}

#[test]
fn without_redis_everything_works_until_what_is_asked_is_not_fresh_any_more() {
    run(async {
        let mut mesh = TestMesh::builder().toml(BLIND).setting("ops.runs_secs", 1_i64).start().await;
        let admin = mesh.admin().await;
        die(&mesh).await;
        mesh.redis.kill();
        blindly(async || admin.get("/admin/audit").await).await;
        let look = async || admin.get("/admin/dashboard").await.expect(200)["at"].clone();
        assert_ne!(look().await, look().await, "nobody keeps it");
        nobody_is_away(&admin).await;
        act(&admin, 3).await;
        is_sound(&admin, "wallet.ledger").await;
        assert_eq!(acts(&mesh).await, 0, "it waits");
        refused_in_the_end(async || admin.get("/admin/audit").await).await;
        for path in LOOKS {
            admin.get(path).await.refused(503, UNKNOWN);
        }
        let asked = mesh.db.count("select count(*) from ops.audits").await;
        discard(&admin).await.refused(503, UNKNOWN);
        check(&admin, &["ops.audit"]).await.refused(503, UNKNOWN);
        assert_eq!((dead(&mesh).await, mesh.db.count("select count(*) from ops.audits").await), (1, asked));
        mesh.redis.resurrect().await;
        wait_until("letters are looked after again", PATIENCE, async || discard(&admin).await.status == 200).await;
        assert_eq!(dead(&mesh).await, 0);
        for path in LOOKS {
            admin.get(path).await.expect(200);
        }
        is_audited(&mesh, 1).await;
    });
}

#[test]
fn without_postgres_nothing_is_answered_for_what_cannot_be_audited_is_not_done() {
    run(async {
        let mesh = TestMesh::builder().proxy(Before::Postgres).setting("ops.runs_secs", 1_i64).start().await;
        let admin = mesh.admin().await;
        die(&mesh).await;
        admin.get("/admin/audit").await.expect(200);
        let proxy = mesh.postgres_proxy.as_ref().unwrap();
        proxy.set(Fault::Cut);
        for path in LOOKS {
            admin.get(path).await.refused(503, AWAY);
        }
        discard(&admin).await.refused(503, AWAY);
        check(&admin, &["ops.audit"]).await.refused(503, AWAY);
        assert_eq!(dead(&mesh).await, 1);
        proxy.heal();
        wait_until("letters are looked after again", PATIENCE, async || discard(&admin).await.status == 200).await;
        assert_eq!(dead(&mesh).await, 0);
        is_sound(&admin, "ops.audit").await;
    });
}
