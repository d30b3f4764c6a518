//! People with phones, whom others have something to tell; and a probe that tells it as they would.

use std::time::Duration;

use coreloop_core::{Clock as _, Fact, id::SystemIds};
use coreloop_eventing::{Facts, Outbox};
use coreloop_facts::v1::{CharacterAcquired, ScanFailed};
use coreloop_testkit::{Persona, Shared, TestMesh, mesh::Builder, wait::wait_for, wait_until};
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// For what goes through outbox, broker and consumer on a machine that is too busy.
pub const LONG: Duration = Duration::from_secs(60);

/// Two replicas that the tests of this folder share: each test has people, phones and events of its own.
pub static MESH: Shared<TestMesh> = Shared::new(|| Box::pin(mesh().split().replicas(2).start()));

/// A mesh with notifications. What stumbles, or is due, is looked after soon; a gateway that wants to be left alone for a second is.
pub fn mesh() -> Builder {
    paused("[2, 2, 2]")
}

/// The same, with pauses of its own before a push is tried again.
pub fn paused(pauses: &str) -> Builder {
    TestMesh::builder()
        .modules(&["notification"])
        .stand_ins()
        .setting("limit.enabled", false)
        .setting("notification.sweep_secs", 1_i64)
        .setting("notification.push_timeout_ms", 20_000_i64)
        .toml(&format!("[eventing]\nretry_delays_secs = {pauses}\npoll_ms = 100\nstandby_ms = 100\n"))
}

/// Facts about a user, to be told once or more often: they keep their ids.
pub fn facts<F: Fact>(who: &Persona, fact: &F) -> Facts {
    let mut facts = Facts::new();
    facts.add(&SystemIds, &who.user_id, fact).unwrap();
    facts
}

/// Tells facts as whoever they are of would, by the outbox of auth: its relay carries what is in it.
pub async fn say(mesh: &TestMesh, facts: &Facts, at: jiff::Timestamp) {
    let outbox = Outbox::new("auth").unwrap();
    outbox.write(&mut mesh.db.connect().await, facts, at).await.unwrap();
}

/// Tells a fact about somebody.
pub async fn tell<F: Fact>(mesh: &TestMesh, who: &Persona, fact: &F) {
    say(mesh, &facts(who, fact), mesh.clock.now()).await;
}

/// A character that somebody has from now on.
pub fn acquired(who: &Persona, code: &str) -> CharacterAcquired {
    CharacterAcquired {
        user_id: who.user_id.clone(),
        code: code.to_owned(),
        source: "scan".to_owned(),
        owned_count: 1_234,
        ..CharacterAcquired::default()
    }
}

/// A photo that came to nothing.
pub fn unseen(who: &Persona) -> ScanFailed {
    ScanFailed {
        task_id: Uuid::new_v4().to_string(),
        user_id: who.user_id.clone(),
        reason: "MODEL_NONSENSE".to_owned(),
        ..ScanFailed::default()
    }
}

/// What somebody was told, newest first.
pub async fn inbox(who: &Persona) -> Vec<Value> {
    let page = who.get("/api/v1/notifications?page_size=200").await.expect(200);
    page["notifications"].as_array().unwrap().clone()
}

/// What somebody was told, as soon as it is so much.
pub async fn told(who: &Persona, count: usize) -> Vec<Value> {
    wait_for(format!("{count} notifications"), LONG, async || Some(inbox(who).await).filter(|told| told.len() >= count))
        .await
}

/// How much somebody has not read.
pub async fn unread(who: &Persona) -> Value {
    who.get("/api/v1/notifications/unread-count").await.expect(200)["unread"].clone()
}

/// A token as an app is given one, of a phone of its own; what is in its name decides its fate at the gateway.
pub fn phone(name: &str) -> String {
    format!("{name}-phone:{}", Uuid::new_v4().simple())
}

/// Registers a phone; its id.
pub async fn registered(who: &Persona, token: &str) -> String {
    let body = json!({"token": token, "platform": "PLATFORM_ANDROID"});
    let device = who.post("/api/v1/notifications/devices", &body).await.expect(200)["device"].clone();
    device["device_id"].as_str().unwrap().to_owned()
}

/// Devices of somebody, by their ids.
pub async fn devices(who: &Persona) -> Vec<String> {
    let devices = who.get("/api/v1/notifications/devices").await.expect(200)["devices"].clone();
    devices.as_array().unwrap().iter().map(|device| device["device_id"].as_str().unwrap().to_owned()).collect()
}

/// Changes how somebody wants to be told; as it is then.
pub async fn prefers(who: &Persona, change: &Value) -> Value {
    let call = who.call(Method::PATCH, "/api/v1/notifications/preferences").json(change);
    call.send().await.expect(200)["preferences"].clone()
}

/// Lets somebody have quiet hours, from an hour ago to `minutes` after the minute that is now, in UTC.
pub async fn quiet_for(who: &Persona, now: jiff::Timestamp, minutes: i64) {
    let at = |minutes: i64| {
        let minute = (now.as_second() / 60 + minutes).rem_euclid(24 * 60);
        format!("{:02}:{:02}", minute / 60, minute % 60)
    };
    let hours = json!({"start": at(-60), "end": at(minutes), "time_zone": "UTC"});
    assert_eq!(prefers(who, &json!({"quiet_hours": hours})).await["quiet_hours"], hours);
}

/// Pushes of somebody that wait for the end of quiet hours.
pub async fn waiting(mesh: &TestMesh, who: &Persona) -> i64 {
    let of = format!("user_id = '{}' and state = 1", who.user_id);
    mesh.db.count(&format!("select count(*) from notification.pushes where {of}")).await
}

/// Messages that the gateway has taken for a phone.
pub async fn pushes(mesh: &TestMesh, token: &str) -> Vec<Value> {
    let stand_ins = mesh.stand_ins.as_ref().unwrap().rest();
    let taken = stand_ins.get(&format!("/_sandbox/pushes?token={token}")).send().await.expect(200);
    taken["pushes"].as_array().unwrap().iter().map(|push| push["message"].clone()).collect()
}

/// The messages for a phone, as soon as there are so many.
pub async fn pushed(mesh: &TestMesh, token: &str, count: usize) -> Vec<Value> {
    wait_for(format!("{count} pushes"), LONG, async || Some(pushes(mesh, token).await).filter(|all| all.len() >= count))
        .await
}

/// Pushes of somebody in a state, that came to it for a reason.
pub async fn ended(mesh: &TestMesh, who: &Persona, state: i16, outcome: &str) -> i64 {
    let of = format!("user_id = '{}' and state = {state} and outcome = '{outcome}'", who.user_id);
    mesh.db.count(&format!("select count(*) from notification.pushes where {of}")).await
}

/// Waits until a push of somebody came to a state for a reason.
pub async fn wait_for_end(mesh: &TestMesh, who: &Persona, state: i16, outcome: &str) {
    wait_until(format!("a push is {state} {outcome}"), LONG, async || ended(mesh, who, state, outcome).await == 1)
        .await;
}

/// The gateway has it.
pub const TAKEN: i16 = 3;
/// It was given up.
pub const GIVEN_UP: i16 = 4;
/// It is not to be pushed any more.
pub const DROPPED: i16 = 5;

/// Switches a fault of the gateway on.
pub async fn fault(mesh: &TestMesh, change: &Value) {
    let mut fault = json!({"provider": "fcm", "endpoint": "send"});
    fault.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    mesh.stand_ins.as_ref().unwrap().fault(&fault).await;
}

/// Switches every fault off.
pub async fn mended(mesh: &TestMesh) {
    mesh.stand_ins.as_ref().unwrap().rest().delete("/_sandbox/faults").send().await;
}

/// How often the gateway was asked to push.
pub async fn sends(mesh: &TestMesh) -> u64 {
    mesh.stand_ins.as_ref().unwrap().requests("fcm/send").await
}

/// Events and commands that were set aside, in a state.
pub async fn held(mesh: &TestMesh, state: &str) -> i64 {
    mesh.db.count(&format!("select count(*) from notification.held_events where state = '{state}'")).await
}

/// Facts of a kind that were told of somebody's notifications.
pub async fn emitted(mesh: &TestMesh, event: &str, who: &Persona) -> i64 {
    let of = format!("aggregatetype = 'notification' and type = '{event}' and aggregateid = '{}'", who.user_id);
    mesh.db.count(&format!("select count(*) from notification.outbox where {of}")).await
}

/// Events of a kind in the history of a notification.
pub async fn happened(mesh: &TestMesh, notification: &Value, event: &str) -> i64 {
    let id = notification["notification_id"].as_str().unwrap();
    let of = format!("aggregate_id = '{id}' and event_type = 'notification.{event}'");
    mesh.db.count(&format!("select count(*) from notification.events where {of}")).await
}
