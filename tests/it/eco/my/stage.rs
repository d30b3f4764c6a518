//! People who recycle; and a probe that tells what scans will tell.

use coreloop_core::Clock as _;
use coreloop_facts::v1::ScanCompleted;
use coreloop_scan_api::v1::Category;
use coreloop_testkit::{Answer, Persona, Shared, TestMesh, mesh::Builder, wait_until};
use http::Method;
use jiff::{SignedDuration, tz::TimeZone};
use serde_json::Value;
use uuid::Uuid;

use crate::eco::character::stage::{scan, tell};
pub use crate::eco::stage::LONG;

/// Two replicas that the tests of this folder share: each test has people of its own. What is read is put together anew.
pub static MESH: Shared<TestMesh> =
    Shared::new(|| Box::pin(mesh().setting("my.summary_cache_secs", 0_i64).split().replicas(2).start()));

/// A mesh with what users have come to. On a busy machine everything may answer late, and is not away for that.
pub fn mesh() -> Builder {
    TestMesh::builder()
        .modules(&["character", "image", "my"])
        .stand_ins()
        .setting("limit.enabled", false)
        .setting("my.redis_timeout_ms", 10_000_i64)
        .setting("redis.response_timeout_ms", 10_000_i64)
        .setting("character.redis_timeout_ms", 10_000_i64)
        .toml("[eventing]\nretry_delays_secs = [1, 1, 1]\npoll_ms = 100\nstandby_ms = 100\n")
}

/// The day (UTC) so many days from now, as `2026-11-22`.
pub fn day(mesh: &TestMesh, from_now: i64) -> String {
    let at = mesh.clock.now() + SignedDuration::from_hours(24 * from_now);
    at.to_zoned(TimeZone::UTC).date().to_string()
}

/// A scan of something that can be recycled, on a day; its task.
pub async fn recycles(mesh: &TestMesh, who: &Persona, category: Category, day: &str) -> String {
    let task_id = Uuid::new_v4().to_string();
    tell(mesh, &who.user_id, &scan(&task_id, who, category, day)).await;
    task_id
}

/// A scan that earns something, of what cannot be recycled.
pub fn waste(who: &Persona, day: &str) -> ScanCompleted {
    let task_id = Uuid::new_v4().to_string();
    ScanCompleted { recyclable: false, ..scan(&task_id, who, Category::General, day) }
}

/// What somebody has come to, as they are told.
pub async fn summary(who: &Persona) -> Value {
    who.get("/api/v1/my/summary").await.expect(200)
}

/// Scans of somebody that counted.
pub async fn scans(mesh: &TestMesh, who: &Persona) -> i64 {
    let sql = format!("select coalesce((select scans from my.people where user_id = '{}'), 0)", who.user_id);
    mesh.db.count(&sql).await
}

/// Waits until so many scans of somebody counted.
pub async fn counted(mesh: &TestMesh, who: &Persona, wanted: i64) {
    wait_until(format!("{wanted} scans count"), LONG, async || scans(mesh, who).await == wanted).await;
}

/// Waits until it is heard that somebody has so many characters.
pub async fn owns(mesh: &TestMesh, who: &Persona, wanted: i64) {
    let sql = format!("select coalesce((select owned from my.people where user_id = '{}'), 0)::bigint", who.user_id);
    wait_until(format!("{wanted} characters are heard of"), LONG, async || mesh.db.count(&sql).await == wanted).await;
}

/// Waits until everything that was told is heard, in a mesh of one's own.
pub async fn heard(mesh: &TestMesh) {
    let ahead = "select (select count(*) from auth.outbox
                          where (aggregatetype, type) in (('scan', 'completed'), ('auth', 'user_withdrawn')))
                      + (select count(*) from character.outbox where type in ('acquired', 'lost', 'evolved'))
                      + (select count(*) from image.outbox where type = 'deleted')
                      - (select count(*) from my.processed_events)";
    wait_until("everything is heard", LONG, async || mesh.db.count(ahead).await == 0).await;
}

/// Moves the clock of a mesh to noon, so that no day ends while a test runs. What is signed for storage is not good then.
pub fn noon(mesh: &TestMesh) {
    let into = mesh.now().rem_euclid(86_400);
    mesh.clock.advance(SignedDuration::from_secs((43_200 - into).rem_euclid(86_400)));
}

/// Facts of a kind that were told of somebody.
pub async fn told(mesh: &TestMesh, event: &str, who: &Persona) -> i64 {
    let of = format!("aggregatetype = 'my' and type = '{event}' and aggregateid = '{}'", who.user_id);
    mesh.db.count(&format!("select count(*) from my.outbox where {of}")).await
}

/// Events of a type in somebody's history.
pub async fn happened(mesh: &TestMesh, event: &str, who: &Persona) -> i64 {
    let of = format!("event_type = 'my.{event}' and aggregate_id = '{}'", who.user_id);
    mesh.db.count(&format!("select count(*) from my.events where {of}")).await
}

/// A PATCH of `json`.
pub async fn patch(who: &Persona, path: &str, json: &Value) -> Answer {
    who.call(Method::PATCH, path).json(json).send().await
}

/// Changes somebody's profile.
pub async fn changed(who: &Persona, json: &Value) -> Value {
    patch(who, "/api/v1/my/profile", json).await.expect(200)["profile"].clone()
}

/// Follows somebody.
pub async fn follow(who: &Persona, whom: &str) -> Answer {
    who.post(&format!("/api/v1/my/follows/{whom}"), &serde_json::json!({})).await
}

/// Follows somebody no more.
pub async fn unfollow(who: &Persona, whom: &str) -> Answer {
    who.delete(&format!("/api/v1/my/follows/{whom}")).await
}

/// What anybody sees of somebody.
pub async fn public(mesh: &TestMesh, user: &str) -> Answer {
    mesh.visitor("anybody").get(&format!("/api/users/{user}")).await
}
