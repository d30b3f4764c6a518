//! What the README says of scans without a part of the mesh (O3): what works, what does not, and that what waited is done, once.

use coreloop_testkit::{Answer, Fault, mesh::Before, run, wait::wait_for, wait_until};
use serde_json::{Value, json};

use super::stage::{ended, found, is_once, mesh, scanned};
use crate::{
    eco::stage::{LONG, Taken},
    shop::away::{AWAY, BLIND, blindly, refused_in_the_end, untold},
};

/// What is answered in the end: a busy machine may be a moment late.
async fn answered(mut ask: impl AsyncFnMut() -> Answer) -> Value {
    wait_for("an answer", LONG, async || Some(ask().await).filter(|answer| answer.status == 200)).await.json()
}

fn path(task: &Value) -> String {
    format!("/api/v1/scan/tasks/{}", task["task_id"].as_str().unwrap())
}

#[test]
fn without_redis_what_there_is_can_be_read_and_photos_wait() {
    run(async {
        let hasty = mesh().setting("image.redis_timeout_ms", 300_i64).setting("scan.redis_timeout_ms", 300_i64);
        let mut mesh = hasty.toml(BLIND).start().await;
        let alice = mesh.persona("alice").await;
        let before = scanned(&alice, "box.jpg").await;
        mesh.redis.kill();
        blindly(async || alice.get("/api/v1/scan/stats").await).await;
        assert_eq!(alice.get(&path(&before)).await.expect(200)["task"], before);
        let taken = Taken::by(&alice, "can.png").await;
        assert!(untold(&mesh, "image").await > 0, "what is to be told waits");
        refused_in_the_end(async || alice.get("/api/v1/scan/history").await).await;
        mesh.redis.resurrect().await;
        wait_until("she is answered", LONG, async || alice.get("/api/v1/scan/history").await.status == 200).await;
        let task = ended(&alice, taken.id()).await;
        found(&task, "CATEGORY_CAN");
        is_once(&mesh, &alice, &task).await;
    });
}

#[test]
fn without_postgres_a_task_is_as_it_was_answered_last_and_nothing_else_is() {
    run(async {
        let mesh = mesh().proxy(Before::Postgres).start().await;
        let alice = mesh.persona("alice").await;
        // One is over, the other is to be rewarded yet; of a third nothing was answered.
        let (dark, bottle) = (scanned(&alice, "night.jpg").await, scanned(&alice, "bottle.jpg").await);
        let unseen = scanned(&alice, "box.jpg").await;
        for task in [&dark, &bottle] {
            assert_eq!(alice.get(&path(task)).await.expect(200)["task"], *task);
        }
        let proxy = mesh.postgres_proxy.as_ref().unwrap();
        proxy.set(Fault::Cut);
        for task in [&dark, &bottle] {
            assert_eq!(answered(async || alice.get(&path(task)).await).await["task"], *task);
        }
        alice.get(&path(&unseen)).await.refused(503, AWAY);
        alice.get("/api/v1/scan/history").await.refused(503, AWAY);
        alice.get("/api/v1/scan/stats").await.refused(503, AWAY);
        let asked = json!({"image_id": dark["image_id"]});
        alice.post("/api/v1/scan/classify", &asked).await.refused(503, AWAY);
        proxy.heal();
        assert_eq!(answered(async || alice.get(&path(&unseen)).await).await["task"], unseen);
    });
}
