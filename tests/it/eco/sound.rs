//! Histories say what the rows of images and scans say, and counts what there is: recomputed as ops has it done (M9).

use coreloop_testkit::{TestMesh, run};
use serde_json::Value;
use sqlx::PgPool;

use super::{
    scan::stage::{came_to_nothing, ended, mesh, scanned, white},
    stage::Taken,
};

/// What does not fit, and of which it is said.
type Found = Vec<(String, String)>;

/// What is found while something is otherwise, past the service.
async fn found_while(mesh: &TestMesh, there: &str, back: &str, verify: &impl AsyncFn() -> Found) -> Found {
    mesh.db.execute(there).await;
    let found = verify().await;
    mesh.db.execute(back).await;
    found
}

fn one(what: &str, subject: &str) -> Found {
    vec![(what.to_owned(), subject.to_owned())]
}

#[test]
fn an_image_is_what_happened_to_it() {
    run(async {
        let mesh = super::stage::mesh().start().await;
        let alice = mesh.persona("alice").await;
        let (kept, gone) = (Taken::by(&alice, "can.png").await, Taken::by(&alice, "box.jpg").await);
        let db = PgPool::connect(&mesh.db.url()).await.unwrap();
        let verify = async || {
            let report = coreloop_image::integrity::verify(&db).await.unwrap();
            report.findings.into_iter().map(|finding| (finding.what, finding.subject)).collect::<Found>()
        };
        let counts = async || coreloop_image::integrity::verify(&db).await.unwrap().counts;
        assert_eq!((counts().await, verify().await), (vec![("images", 2)], Found::new()));
        alice.delete(&gone.path()).await.expect(200);
        gone.is_gone(&mesh).await;
        assert_eq!((counts().await, verify().await), (vec![("images", 1)], Found::new()));
        for (wrong, right) in
            [("state = 2", "state = 1"), ("object_key = object_key || 'x'", "object_key = left(object_key, -1)")]
        {
            let set = |value: &str| format!("update image.images set {value}");
            let found = found_while(&mesh, &set(wrong), &set(right), &verify).await;
            assert_eq!(found, one("image", kept.id()), "{wrong}");
        }
        // Its history says that it is gone, and there is a row.
        let (id, key, user) = (gone.id(), gone.place["object_key"].as_str().unwrap(), &alice.user_id);
        let there = format!(
            "insert into image.images (id, user_id, object_key, etag, mime_type, content_length, state, created_at)
             values ('{id}', '{user}', '{key}', 'e', 'image/jpeg', 1, 1, now())"
        );
        let back = format!("delete from image.images where id = '{id}'");
        assert_eq!(found_while(&mesh, &there, &back, &verify).await, one("image", id));
        assert_eq!(verify().await, Found::new());
    });
}

#[test]
fn a_scan_is_what_happened_to_it_and_is_counted_once() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let (task, _second) = (scanned(&alice, "bottle.jpg").await, scanned(&alice, "can.png").await);
        let failed = ended(&bob, white(&bob).await.id()).await;
        came_to_nothing(&failed, "MODEL_NONSENSE");
        let db = PgPool::connect(&mesh.db.url()).await.unwrap();
        let verify = async || {
            let report = coreloop_scan::integrity::verify(&db).await.unwrap();
            report.findings.into_iter().map(|finding| (finding.what, finding.subject)).collect::<Found>()
        };
        let counts = coreloop_scan::integrity::verify(&db).await.unwrap().counts;
        assert_eq!((counts, verify().await), (vec![("tasks", 3), ("people", 2)], Found::new()));
        let id = |task: &Value| task["task_id"].as_str().unwrap().to_owned();
        for (task, wrong, right) in [
            (&task, "version = version + 1", "version = version - 1"),
            (&task, "version = version - 1", "version = version + 1"),
            (&task, "reward_eligible = not reward_eligible", "reward_eligible = not reward_eligible"),
            (&failed, "failure = 'IMAGE_GONE'", "failure = 'MODEL_NONSENSE'"),
        ] {
            let set = |value: &str| format!("update scan.tasks set {value} where id = '{}'", id(task));
            let found = found_while(&mesh, &set(wrong), &set(right), &verify).await;
            assert_eq!(found, one("task", &id(task)), "{wrong}");
        }
        // Counted twice, and on a day on which there is nothing.
        for (wrong, right) in [("total = total + 1", "total = total - 1"), ("day = day - 1", "day = day + 1")] {
            let set = |value: &str| format!("update scan.daily set {value}");
            let found = found_while(&mesh, &set(wrong), &set(right), &verify).await;
            assert!(!found.is_empty(), "{wrong}");
            assert!(found.iter().all(|one| *one == ("count".to_owned(), alice.user_id.clone())), "{wrong}: {found:?}");
        }
        assert_eq!(verify().await, Found::new());
    });
}
