//! Parts are killed at any step, events come twice, commands are lost: each photo is classified, and counts once.

use coreloop_testkit::{Product, TestMesh, mesh::Builder, run, wait_until};
use futures::future::join_all;
use serde_json::json;
use sqlx::Executor as _;
use uuid::Uuid;

use super::stage::{ended, fault, found, history, is_once, looks, mended, mesh, scanned, tell_again};
use crate::eco::stage::{LONG, Taken};

/// A mesh whose first scan is a process of its own, which can be killed in the midst of anything. Whoever dies is replaced soon.
async fn mortal(mesh: Builder) -> (TestMesh, Product) {
    let mut mesh = mesh.split().setting("eventing.standby_ms", 100_i64).start().await;
    let model = mesh.stand_ins.as_ref().unwrap().model_settings();
    let own = format!("[eventing]\nretry_delays_secs = [1, 1, 1]\nstandby_ms = 100\n[scan]\n{model}");
    let scan = Product::instead(&mut mesh, &["scan"], &own).await;
    (mesh, scan)
}

/// What a photo earns is to be written.
const EARNING: &str = "select count(*) from pg_stat_activity where datname = current_database()
    and wait_event_type = 'Lock' and query like '%scan.earned%'";

#[test]
fn killed_between_the_models_word_and_the_note_of_it_it_counts_once() {
    run(async {
        let (mesh, mut scan) = mortal(mesh()).await;
        let alice = mesh.persona("alice").await;
        // What the model says cannot be written down to its end before whoever asked it is killed.
        let mut holder = mesh.db.connect().await;
        holder.execute("begin; lock table scan.earned in exclusive mode").await.unwrap();
        let taken = Taken::by(&alice, "bottle.jpg").await;
        wait_until("it is to be written", LONG, async || mesh.db.count(EARNING).await == 1).await;
        scan.kill();
        holder.execute("rollback").await.unwrap();
        scan.start().await;
        let task = ended(&alice, taken.id()).await;
        found(&task, "CATEGORY_PET");
        is_once(&mesh, &alice, &task).await;
        assert_eq!(looks(&mesh).await, 2, "it was asked again");
    });
}

#[test]
fn killed_while_the_model_looks_another_replica_asks_again() {
    run(async {
        let (mut mesh, mut scan) = mortal(mesh().replicas(2)).await;
        let alice = mesh.persona("alice").await;
        fault(&mesh, json!({"kind": "latency", "ms": 120_000})).await;
        // The one that is to be killed has the queue.
        mesh.node_mut(1, "scan").stop().await;
        let taken = Taken::by(&alice, "can.png").await;
        wait_until("the model looks", LONG, async || looks(&mesh).await == 1).await;
        mended(&mesh).await;
        mesh.node_mut(1, "scan").start().await;
        scan.kill();
        wait_until("another asks", LONG, async || looks(&mesh).await == 2).await;
        scan.start().await;
        let task = ended(&alice, taken.id()).await;
        found(&task, "CATEGORY_CAN");
        is_once(&mesh, &alice, &task).await;
        assert_eq!(looks(&mesh).await, 2, "once each");
    });
}

/// Delivered again, and told again as another event: an image is one task.
#[test]
fn a_photo_that_is_told_twice_is_one_task() {
    run(async {
        let mesh = mesh().start().await;
        let alice = mesh.persona("alice").await;
        let task = scanned(&alice, "jar.webp").await;
        tell_again(&mesh, "events.image.registered", &alice).await;
        // A later photo is behind them.
        scanned(&alice, "box.jpg").await;
        let known = "select count(*) from scan.processed_events where idempotency_key like 'scan.facts:%'";
        wait_until("all were heard", LONG, async || mesh.db.count(known).await == 3).await;
        assert_eq!(history(&alice, "").await.len(), 2);
        is_once(&mesh, &alice, &task).await;
    });
}

/// A command that every broker has forgotten, and one that nobody has sent although there is room.
#[test]
fn what_was_lost_is_sent_again() {
    run(async {
        let mesh = mesh().setting("scan.auto_classify", false).setting("scan.sweep_secs", 1_i64).start().await;
        let alice = mesh.persona("alice").await;
        for (photo, sent) in [("bottle.jpg", "now() - interval '1 hour'"), ("can.png", "null")] {
            let taken = Taken::by(&alice, photo).await;
            let (etag, user) = (taken.image["etag"].as_str().unwrap(), &alice.user_id);
            let row = format!(
                "insert into scan.tasks (id, user_id, image_id, etag, state, day, created_at, sent_at)
                 values ('{}', '{user}', '{}', '{etag}', 1, current_date, now(), {sent})",
                Uuid::new_v4(),
                taken.id()
            );
            mesh.db.execute(&row).await;
            let task = ended(&alice, taken.id()).await;
            assert_eq!((&task["state"], &task["reward_eligible"]), (&json!("TASK_STATE_COMPLETED"), &json!(true)));
        }
    });
}

/// One at a time is on its way, and whoever ends one sends the next.
#[test]
fn what_there_is_no_room_for_waits_and_is_done() {
    run(async {
        let mesh = mesh().setting("scan.ahead", 1_i64).setting("scan.workers", 1_i64).start().await;
        let alice = mesh.persona("alice").await;
        fault(&mesh, json!({"kind": "latency", "ms": 2_000, "times": 1})).await;
        let photos = ["bottle.jpg", "can.png", "jar.webp", "box.jpg", "night.jpg", "wall.webp"];
        let taken = join_all(photos.iter().map(|name| Taken::by(&alice, name))).await;
        for taken in &taken {
            let task = ended(&alice, taken.id()).await;
            is_once(&mesh, &alice, &task).await;
        }
        assert_eq!(looks(&mesh).await, 6);
        // Whoever sent it, and whenever: each is in the trace of the call that its photo came by.
        let of_its_own = "select count(distinct i.trace_id) from image.outbox i
            join scan.outbox s on s.type = 'completed' and s.payload ->> 'image_id' = i.payload ->> 'image_id'
            join scan.outbox c on c.aggregateid = s.payload ->> 'task_id'
            where i.type = 'registered' and s.trace_id = i.trace_id and c.trace_id = i.trace_id";
        assert_eq!(mesh.db.count(of_its_own).await, 6);
    });
}
