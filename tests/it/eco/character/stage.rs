//! People with characters; campaigns that give them; and a probe that tells what others will tell.

use std::time::Duration;

use coreloop_core::{Clock as _, Fact, id::SystemIds};
use coreloop_eventing::{Facts, Outbox};
use coreloop_facts::v1::{RewardsGranted, ScanCompleted};
use coreloop_rewards_api::v1::RewardKind;
use coreloop_scan_api::v1::Category;
use coreloop_testkit::{Answer, Persona, Shared, TestMesh, mesh::Builder, wait_until};
use serde_json::{Value, json};
use uuid::Uuid;

/// For what goes through outbox, broker and consumer on a machine that is too busy.
pub const LONG: Duration = Duration::from_secs(60);

/// Two replicas that the tests of this folder share: each test has people and events of its own.
pub static MESH: Shared<TestMesh> = Shared::new(|| Box::pin(mesh().split().replicas(2).start()));

/// A mesh with characters. On a busy machine everything may answer late, and is not away for that.
pub fn mesh() -> Builder {
    TestMesh::builder()
        .modules(&["character"])
        .setting("limit.enabled", false)
        .setting("character.redis_timeout_ms", 10_000_i64)
        .setting("redis.response_timeout_ms", 10_000_i64)
        .toml("[eventing]\nretry_delays_secs = [1, 1, 1]\npoll_ms = 100\nstandby_ms = 100\n")
}

/// Tells a fact about a user as whoever it is of would, by the outbox of auth: its relay carries what is in it.
pub async fn tell<F: Fact>(mesh: &TestMesh, user: &str, fact: &F) {
    let mut facts = Facts::new();
    facts.add(&SystemIds, user, fact).unwrap();
    let outbox = Outbox::new("auth").unwrap();
    outbox.write(&mut mesh.db.connect().await, &facts, mesh.clock.now()).await.unwrap();
}

/// An eligible scan on a day; its task.
pub async fn scanned(mesh: &TestMesh, who: &Persona, category: Category, day: &str) -> String {
    let task_id = Uuid::new_v4().to_string();
    tell(mesh, &who.user_id, &scan(&task_id, who, category, day)).await;
    task_id
}

/// An eligible scan.
pub fn scan(task_id: &str, who: &Persona, category: Category, day: &str) -> ScanCompleted {
    ScanCompleted {
        task_id: task_id.to_owned(),
        user_id: who.user_id.clone(),
        category: category.into(),
        confidence: 0.9,
        recyclable: true,
        reward_eligible: true,
        day: day.to_owned(),
        ..ScanCompleted::default()
    }
}

/// A reward that was granted.
pub fn reward(who: &Persona, kind: RewardKind, item: &str) -> RewardsGranted {
    RewardsGranted {
        grant_id: Uuid::new_v4().to_string(),
        user_id: who.user_id.clone(),
        kind: kind.into(),
        amount: 1,
        item: item.to_owned(),
        source: "service:scan".to_owned(),
        ..RewardsGranted::default()
    }
}

/// What a campaign sends.
pub fn gift(event: &str, who: &str, code: &str) -> Value {
    json!({"external_event_id": event, "user_id": who, "code": code})
}

/// A campaign's call.
pub async fn give(mesh: &TestMesh, machine: &str, gift: &Value) -> Answer {
    let token = mesh.machine_token(machine, "character").await;
    mesh.rest().with_token(token).post("/api/v1/character/webhook", gift).send().await
}

/// Gives somebody a character.
pub async fn given(mesh: &TestMesh, who: &Persona, code: &str) {
    let event = Uuid::new_v4().to_string();
    assert_eq!(give(mesh, "campaigns", &gift(&event, &who.user_id, code)).await.expect(200)["code"], code);
}

/// What somebody sees of their characters.
pub async fn mine(who: &Persona) -> Value {
    who.get("/api/v1/character/me").await.expect(200)
}

/// A character in what somebody sees.
pub fn of<'a>(mine: &'a Value, code: &str) -> &'a Value {
    let characters = mine["characters"].as_array().unwrap();
    characters.iter().find(|one| one["character"]["code"] == code).unwrap_or_else(|| panic!("no {code} in {mine}"))
}

/// Codes of what somebody has.
pub fn owned(mine: &Value) -> Vec<&str> {
    let owned = mine["characters"].as_array().unwrap().iter().filter_map(|one| one["owned"]["code"].as_str());
    let codes: Vec<&str> = owned.collect();
    assert_eq!(mine["owned_count"], codes.len(), "{mine}");
    codes
}

/// Waits until somebody has these, in the order of the catalogue.
pub async fn wait_for_owned(who: &Persona, codes: &[&str]) {
    wait_until(format!("they have {codes:?}"), LONG, async || owned(&mine(who).await) == codes).await;
}

/// Facts of a type that were told of a user, with a field of that value.
pub async fn told(mesh: &TestMesh, event: &str, who: &Persona, (field, value): (&str, &str)) -> i64 {
    let sql = format!(
        "select count(*) from character.outbox where aggregatetype = 'character' and type = '{event}'
            and aggregateid = '{}' and payload ->> '{field}' = '{value}'",
        who.user_id
    );
    mesh.db.count(&sql).await
}

/// Waits until an event of another was refused for a reason, and says so once.
pub async fn wait_for_refusal(mesh: &TestMesh, who: &Persona, event: &str, reason: &str) {
    let sql = format!(
        "select count(*) from character.outbox where type = 'acquire_failed' and aggregateid = '{}'
            and payload ->> 'source_event_id' = '{event}' and payload ->> 'reason' = '{reason}'",
        who.user_id
    );
    wait_until(format!("{event} is refused: {reason}"), LONG, async || mesh.db.count(&sql).await == 1).await;
}

/// Events in the history of somebody's collection.
pub async fn happened(mesh: &TestMesh, who: &Persona) -> i64 {
    mesh.db.count(&format!("select count(*) from character.events where aggregate_id = '{}'", who.user_id)).await
}

/// What Redis has of somebody: version and view.
pub async fn view(mesh: &TestMesh, user: &str) -> (i64, Value) {
    let mut command = redis::cmd("HMGET");
    command.arg(format!("char:ownership:{user}")).arg("version").arg("view");
    let (version, view): (Option<i64>, Option<String>) =
        command.query_async(&mut mesh.redis.connect().await).await.unwrap();
    let view = view.filter(|view| !view.is_empty()).map_or(Value::Null, |view| serde_json::from_str(&view).unwrap());
    (version.unwrap_or_default(), view)
}

/// Waits until Redis has seen all that happened to somebody.
pub async fn wait_for_view(mesh: &TestMesh, who: &Persona) -> Value {
    let events = happened(mesh, who).await;
    wait_until(format!("the view is at {events}"), LONG, async || view(mesh, &who.user_id).await.0 == events).await;
    view(mesh, &who.user_id).await.1
}
