//! What a photo earns is given, or cannot be and is told so, once: image, scan and character together (chapter 02).

use coreloop_testkit::{Persona, TestMesh, mesh::Builder, run};
use serde_json::{Value, json};

use super::stage::{ended, is_once, task, tell_again, told};
use crate::eco::{
    character::stage::{mine, wait_for_owned},
    stage::{self, Taken},
};

fn mesh() -> Builder {
    stage::mesh().modules(&["character", "image", "scan"])
}

/// The task of a photo, as soon as it is known what became of what it earned.
async fn rewarded(who: &Persona, name: &str) -> Value {
    let taken = Taken::by(who, name).await;
    let earned = ended(who, taken.id()).await;
    assert_eq!(earned["reward_eligible"], true, "{earned}");
    task(who, taken.id(), |task| task["reward_status"] != "REWARD_STATUS_PENDING").await
}

/// Events of a kind in the history of a task.
async fn noted(mesh: &TestMesh, event: &str, task: &Value) -> i64 {
    let of = format!("event_type = '{event}' and aggregate_id = '{}'", task["task_id"].as_str().unwrap());
    mesh.db.count(&format!("select count(*) from scan.events where {of}")).await
}

#[test]
fn what_a_photo_earns_is_a_character_and_the_scan_says_so() {
    run(async {
        let mesh = mesh().start().await;
        let alice = mesh.persona("alice").await;
        let task = rewarded(&alice, "bottle.jpg").await;
        assert_eq!((&task["reward_status"], &task["reward_reason"]), (&json!("REWARD_STATUS_GRANTED"), &json!("")));
        wait_for_owned(&alice, &["CHR005"]).await;
        // What is answered of the task is what it is now, whatever was answered of it before.
        let path = format!("/api/v1/scan/tasks/{}", task["task_id"].as_str().unwrap());
        assert_eq!(alice.get(&path).await.expect(200)["task"]["reward_status"], "REWARD_STATUS_GRANTED");
        assert_eq!(told(&mesh, "reward_compensated", &task).await, 0);
        is_once(&mesh, &alice, &task).await;
    });
}

#[test]
fn what_cannot_be_given_is_told_once_and_the_scan_says_why() {
    run(async {
        let mesh = mesh().setting("character.max_owned", 1_i64).start().await;
        let alice = mesh.persona("alice").await;
        assert_eq!(rewarded(&alice, "bottle.jpg").await["reward_status"], "REWARD_STATUS_GRANTED");
        let task = rewarded(&alice, "can.png").await;
        assert_eq!(
            (&task["reward_status"], &task["reward_reason"]),
            (&json!("REWARD_STATUS_FAILED"), &json!("max_characters_reached")),
            "{task}"
        );
        tell_again(&mesh, "events.character.acquire_failed", &alice).await;
        // A later photo is behind them.
        let later = rewarded(&alice, "jar.webp").await;
        for task in [&task, &later] {
            assert_eq!(told(&mesh, "reward_compensated", task).await, 1, "{task}");
            assert_eq!(noted(&mesh, "scan.reward_compensated", task).await, 1, "{task}");
            is_once(&mesh, &alice, task).await;
        }
        assert_eq!(mine(&alice).await["owned_count"], 1);
    });
}
