//! People who take photos and look at their socket meanwhile.

use coreloop_testkit::{Persona, Shared, Socket, TestMesh, mesh::Builder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::eco::stage::{self, announced, photo, sent};

/// Who takes part in the story, beside auth and the edge.
pub const MODULES: &[&str] = &["image", "scan", "character", "my", "notification", "realtime"];

/// The span of the caller, which nobody exports.
pub const CALLER: &str = "00f067aa0ba902b7";

/// Two replicas of each behind Envoy, whose spans are kept: tests of the story share it, with people of their own. One may have one
/// character.
pub static MESH: Shared<TestMesh> = Shared::new(|| {
    Box::pin(mesh().modules(MODULES).split().replicas(2).envoy().otlp().setting("character.max_owned", 1_i64).start())
});

/// As the meshes of images, with the whole story. A summary is put together each time; on a busy machine everything may answer late.
pub fn mesh() -> Builder {
    stage::mesh()
        .modules(MODULES)
        .setting("my.summary_cache_secs", 0_i64)
        .setting("character.redis_timeout_ms", 10_000_i64)
}

/// A trace that nobody else has.
pub fn trace() -> String {
    Uuid::new_v4().simple().to_string()
}

/// A photo of `who`, straight to storage and registered, as an app that traces does it; the image.
pub async fn taken_in(who: &Persona, name: &str, trace: &str) -> Value {
    let traced = async |path: &str, body: &Value| {
        let call = who.rest().post(path, body).header("traceparent", &format!("00-{trace}-{CALLER}-01"));
        call.send().await.expect(200)
    };
    let place = traced("/api/v1/image/presigned", &announced(photo(name))).await;
    let etag = sent(&place, photo(name)).await;
    let registered = json!({"object_key": place["object_key"], "etag": etag});
    traced("/api/v1/image/callback", &registered).await["image"].clone()
}

/// What a socket says until all is there that `wanted` asks for.
pub async fn listen(socket: &mut Socket, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut said = Vec::new();
    while !wanted(&said) {
        said.push(socket.message().await);
    }
    said
}

/// All that a photo of the first day comes to has been said.
pub fn all_said(said: &[Value]) -> bool {
    let types = ["scan_update", "reward_granted", "streak_update", "stats_delta", "notification"];
    types.iter().all(|name| of_type(said, name).is_some())
}

/// The last message of a type.
pub fn of_type<'a>(said: &'a [Value], name: &str) -> Option<&'a Value> {
    said.iter().rfind(|message| message["type"] == name)
}

/// Kinds of the notifications, as apps name them.
pub fn kinds(said: &[Value]) -> Vec<String> {
    let told = said.iter().filter(|message| message["type"] == "notification");
    let kind =
        |message: &Value| message["data"]["kind"].as_str().unwrap().trim_start_matches("NOTIFICATION_KIND_").to_owned();
    told.map(kind).collect()
}

/// A notification of a kind was said.
pub fn is_told(said: &[Value], kind: &str) -> bool {
    kinds(said).iter().any(|one| one == kind)
}

/// The task of a scan's message.
pub async fn task_of(who: &Persona, scan: &Value) -> Value {
    let path = format!("/api/v1/scan/tasks/{}", scan["task_id"].as_str().unwrap());
    who.get(&path).await.expect(200)["task"].clone()
}

/// Notifications that somebody has not read.
pub async fn unread(who: &Persona) -> i64 {
    who.get("/api/v1/notifications/unread-count").await.expect(200)["unread"].as_i64().unwrap()
}

/// Facts of a type (`%`: of any) that a service told in a trace.
pub async fn told_in(mesh: &TestMesh, schema: &str, fact: &str, trace: &str) -> i64 {
    let of = format!("trace_id = '{trace}' and aggregatetype = '{schema}' and type like '{fact}'");
    mesh.db.count(&format!("select count(*) from {schema}.outbox where {of}")).await
}

/// Switches a fault of the model on.
pub async fn fault(mesh: &TestMesh, change: &Value) {
    let mut fault = json!({"provider": "openai", "endpoint": "vision"});
    fault.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    mesh.stand_ins.as_ref().unwrap().fault(&fault).await;
}

/// Switches every fault off.
pub async fn mended(mesh: &TestMesh) {
    mesh.stand_ins.as_ref().unwrap().rest().delete("/_sandbox/faults").send().await;
}
