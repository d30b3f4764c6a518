//! People whose photos are classified.

use coreloop_sandbox::Photo;
use coreloop_testkit::{Persona, Shared, TestMesh, mesh::Builder, wait::wait_for};
use redis::{
    Value as Entry,
    streams::{StreamId, StreamRangeReply},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::eco::stage::{self, LONG, Taken};

/// Two replicas that the tests of this folder share: each test has people of its own.
pub static MESH: Shared<TestMesh> = Shared::new(|| Box::pin(mesh().split().replicas(2).start()));

/// As the meshes of images, with scans.
pub fn mesh() -> Builder {
    stage::mesh().modules(&["image", "scan"]).setting("scan.redis_timeout_ms", 10_000_i64)
}

/// One white pixel, of which the model says nothing that makes sense.
pub static WHITE: Photo = Photo {
    name: "white.png",
    mime_type: "image/png",
    bytes: b"\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\
             \x00\x90\x77\x53\xde\x00\x00\x00\x0c\x49\x44\x41\x54\x78\x9c\x63\xf8\xff\xff\x3f\x00\x05\xfe\x02\xfe\x0d\xef\x46\
             \xb8\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82",
    category: "",
    sure: false,
};

/// That photo, registered.
pub async fn white(who: &Persona) -> Taken {
    Taken::of(who, &WHITE).await
}

/// The tasks of somebody, newest first.
pub async fn history(who: &Persona, query: &str) -> Vec<Value> {
    let page = who.get(&format!("/api/v1/scan/history?page_size=200&{query}")).await.expect(200);
    page["tasks"].as_array().expect("tasks").clone()
}

/// The task of an image, as soon as `wanted` says so.
pub async fn task(who: &Persona, image: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_for(format!("the task of {image}"), LONG, async || {
        history(who, "").await.into_iter().find(|task| task["image_id"] == image && wanted(task))
    })
    .await
}

/// The task of an image, at its end.
pub async fn ended(who: &Persona, image: &str) -> Value {
    task(who, image, |task| task["state"] != "TASK_STATE_QUEUED").await
}

/// A photo of somebody, and its task at its end.
pub async fn scanned(who: &Persona, name: &str) -> Value {
    ended(who, Taken::by(who, name).await.id()).await
}

/// Asserts how a task came to nothing.
#[track_caller]
pub fn came_to_nothing(task: &Value, reason: &str) {
    assert_eq!((&task["state"], &task["failure"]), (&json!("TASK_STATE_FAILED"), &json!(reason)), "{task}");
    assert_eq!(
        (&task["category"], &task["reward_eligible"]),
        (&json!("CATEGORY_UNSPECIFIED"), &json!(false)),
        "{task}"
    );
}

/// Asserts what a task found.
#[track_caller]
pub fn found(task: &Value, category: &str) {
    assert_eq!((&task["state"], &task["category"]), (&json!("TASK_STATE_COMPLETED"), &json!(category)), "{task}");
}

/// Asserts that an image was answered with what scan says of it, in the same words.
#[track_caller]
pub fn said_of(analysis: &Value, task: &Value) {
    let said = analysis.as_object().expect("an analysis");
    assert!(said.contains_key("category") && said.contains_key("reward_status"), "{analysis}");
    for (name, value) in said {
        assert_eq!(value, &task[name], "{name}: {analysis}");
    }
}

/// Facts of a kind that were told of a task.
pub async fn told(mesh: &TestMesh, event: &str, task: &Value) -> i64 {
    let id = task["task_id"].as_str().expect("an id");
    let of = format!("aggregatetype = 'scan' and type = '{event}' and payload ->> 'task_id' = '{id}'");
    mesh.db.count(&format!("select count(*) from scan.outbox where {of}")).await
}

/// Tells the last of a kind that was told of somebody again: as it was, and as if it were another event, whose id is answered.
pub async fn tell_again(mesh: &TestMesh, topic: &str, who: &Persona) -> Uuid {
    let mut redis = mesh.redis.connect().await;
    let entries: StreamRangeReply =
        redis::cmd("XRANGE").arg(topic).arg("-").arg("+").query_async(&mut redis).await.expect("the stream");
    let of_theirs = |entry: &&StreamId| entry.get::<String>("key").as_ref() == Some(&who.user_id);
    let last = entries.ids.iter().rev().find(of_theirs).expect("something of theirs");
    let id = Uuid::new_v4();
    for other in [None, Some(id.to_string())] {
        let mut again = redis::cmd("XADD");
        again.arg(topic).arg("*");
        for (name, value) in &last.map {
            let Entry::BulkString(bytes) = value else { panic!("{name}: {value:?}") };
            let bytes = other.as_ref().filter(|_| name == "id").map_or(bytes.as_slice(), |id| id.as_bytes());
            again.arg(name).arg(bytes);
        }
        let () = again.query_async(&mut redis).await.expect("it is told");
    }
    id
}

/// One result of a task: told, in its history, counted and, where it earned something, earned; each once.
pub async fn is_once(mesh: &TestMesh, who: &Persona, task: &Value) {
    let id = task["task_id"].as_str().expect("an id");
    assert_eq!((told(mesh, "completed", task).await, told(mesh, "failed", task).await), (1, 0), "{task}");
    let (events, earned) = (
        format!("select count(*) from scan.events where aggregate_id = '{id}' and event_type = 'scan.completed'"),
        format!("select count(*) from scan.earned where task_id = '{id}'"),
    );
    let eligible = i64::from(task["reward_eligible"] == true);
    assert_eq!((mesh.db.count(&events).await, mesh.db.count(&earned).await), (1, eligible), "{task}");
    // In one statement: others of theirs may end meanwhile.
    let user = &who.user_id;
    let uncounted = format!(
        "select (select count(*) from scan.tasks where user_id = '{user}' and state = 2)
              - (select coalesce(sum(total), 0)::bigint from scan.daily where user_id = '{user}')"
    );
    assert_eq!(mesh.db.count(&uncounted).await, 0, "counted as often as there are results");
}

/// Switches a fault of the model on.
pub async fn fault(mesh: &TestMesh, change: Value) {
    let mut fault = json!({"provider": "openai", "endpoint": "vision"});
    for (name, value) in change.as_object().expect("a fault") {
        fault[name] = value.clone();
    }
    mesh.stand_ins.as_ref().expect("stand-ins").fault(&fault).await;
}

/// Switches every fault off.
pub async fn mended(mesh: &TestMesh) {
    mesh.stand_ins.as_ref().expect("stand-ins").rest().delete("/_sandbox/faults").send().await;
}

/// How often the model was asked to look.
pub async fn looks(mesh: &TestMesh) -> u64 {
    mesh.stand_ins.as_ref().expect("stand-ins").requests("openai/vision").await
}

/// Commands that were set aside, in a state.
pub async fn held(mesh: &TestMesh, state: &str) -> i64 {
    mesh.db.count(&format!("select count(*) from scan.held_events where state = '{state}'")).await
}
