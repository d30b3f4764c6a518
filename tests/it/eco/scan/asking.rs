//! Somebody asks: at once answered, theirs alone, and refused where it makes no sense.

use coreloop_testkit::run;
use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{MESH, came_to_nothing, ended, found, held, history, is_once, mesh, scanned, task};
use crate::eco::stage::Taken;

const CLASSIFY: &str = "/api/v1/scan/classify";

#[test]
fn an_image_is_one_task_however_often_it_is_asked_for() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::by(&alice, "can.png").await;
        let fronts: Vec<_> = (0..2).map(|replica| alice.at(&mesh.gateway_on(replica))).collect();
        let asked = json!({"image_id": taken.id(), "user_input": "깡통"});
        let answers = join_all((0..16).map(|number| fronts[number % 2].post(CLASSIFY, &asked))).await;
        let ids: Vec<Value> = answers.iter().map(|answer| answer.expect(202)["task_id"].clone()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let task = ended(&alice, taken.id()).await;
        found(&task, "CATEGORY_CAN");
        assert_eq!(task["task_id"], ids[0]);
        is_once(mesh, &alice, &task).await;
        // Later it is the same, and done.
        let again = alice.post(CLASSIFY, &asked).await.expect(202);
        assert_eq!(again, json!({"task_id": ids[0], "state": "TASK_STATE_COMPLETED"}));
        assert_eq!(history(&alice, "").await.len(), 1);
    });
}

#[test]
fn where_nothing_is_classified_by_itself_somebody_asks() {
    run(async {
        let mesh = mesh().setting("scan.auto_classify", false).start().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::by(&alice, "bottle.jpg").await;
        let asked = alice.post(CLASSIFY, &json!({"image_id": taken.id()})).await.expect(202);
        assert_eq!(ended(&alice, taken.id()).await["task_id"], asked["task_id"]);
        assert_eq!(mesh.db.count("select count(*) from scan.tasks").await, 1);
    });
}

#[test]
fn an_address_is_one_task_a_key_and_earns_nothing() {
    run(async {
        let mesh = mesh().setting("scan.private_urls", true).setting("scan.auto_classify", false).start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let (jar, can) = (Taken::by(&alice, "jar.webp").await, Taken::by(&alice, "can.png").await);
        let asked = json!({"image_url": jar.loadable(), "idempotency_key": "k"});
        let answers = join_all((0..8).map(|_| alice.post(CLASSIFY, &asked))).await;
        let ids: Vec<Value> = answers.iter().map(|answer| answer.expect(202)["task_id"].clone()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let other = json!({"image_url": can.loadable(), "idempotency_key": "k"});
        alice.post(CLASSIFY, &other).await.refused(409, "IDEMPOTENCY_KEY_REUSED");
        // The header names it as well; bob's key is bob's; without a key it is another each time.
        let header = bob.rest().post(CLASSIFY, &json!({"image_url": can.loadable()})).header("idempotency-key", "k");
        let of_bob = header.send().await.expect(202)["task_id"].clone();
        let without = alice.post(CLASSIFY, &json!({"image_url": jar.loadable()})).await.expect(202)["task_id"].clone();
        assert!(of_bob != ids[0] && without != ids[0]);
        let seen = task(&alice, "", |task| task["task_id"] == ids[0] && task["state"] != "TASK_STATE_QUEUED").await;
        found(&seen, "CATEGORY_GLASS");
        assert_eq!((&seen["reward_eligible"], &seen["reward_reason"]), (&json!(false), &json!("NO_PHOTO")));
        is_once(&mesh, &alice, &seen).await;
        // What is not there is no result, and nobody's dead letter.
        let gone = format!("{}?gone", can.loadable().split('?').next().unwrap());
        let gone = alice.post(CLASSIFY, &json!({"image_url": gone})).await.expect(202)["task_id"].clone();
        let unseen = task(&alice, "", |task| task["task_id"] == gone && task["failure"] != "").await;
        came_to_nothing(&unseen, "IMAGE_UNSEEN");
        assert_eq!(held(&mesh, "dead").await, 0);
    });
}

#[test]
fn somebody_elses_is_none() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, eve) = (mesh.persona("alice").await, mesh.persona("eve").await);
        let taken = Taken::by(&alice, "bottle.jpg").await;
        let task = ended(&alice, taken.id()).await;
        let path = format!("/api/v1/scan/tasks/{}", task["task_id"].as_str().unwrap());
        // Also once it is remembered.
        alice.get(&path).await.expect(200);
        eve.get(&path).await.refused(404, "TASK_NOT_FOUND");
        eve.get(&format!("/api/v1/scan/tasks/{}", Uuid::new_v4())).await.refused(404, "TASK_NOT_FOUND");
        for image in [taken.id().to_owned(), Uuid::new_v4().to_string()] {
            eve.post(CLASSIFY, &json!({"image_id": image})).await.refused(404, "IMAGE_NOT_FOUND");
        }
        assert_eq!(history(&eve, "").await, Vec::<Value>::new());
        assert_eq!(eve.get("/api/v1/scan/stats").await.expect(200)["month"]["total"], 0);
        for path in [CLASSIFY, "/api/v1/scan/history", "/api/v1/scan/stats", path.as_str()] {
            let visitor = mesh.visitor("nobody");
            let answer = if path == CLASSIFY { visitor.post(path, &json!({})).await } else { visitor.get(path).await };
            answer.refused(401, "TOKEN_MISSING");
        }
    });
}

#[test]
fn what_makes_no_sense_is_refused_with_its_field() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let url = "https://cdn.example.com/a.jpg";
        for (field, body) in [
            ("image_id", json!({})),
            ("image_id", json!({"image_id": "x"})),
            ("image_url", json!({"image_id": Uuid::new_v4().to_string(), "image_url": url})),
            ("image_url", json!({"image_url": "http://cdn.example.com/a.jpg"})),
            ("image_url", json!({"image_url": "https://127.0.0.1/a.jpg"})),
            ("image_url", json!({"image_url": "https://169.254.169.254/latest/meta-data"})),
            ("image_url", json!({"image_url": "https://a:b@cdn.example.com/a.jpg"})),
            ("image_url", json!({"image_url": "file:///etc/passwd"})),
            ("image_url", json!({"image_url": format!("{url}?{}", "x".repeat(2_048))})),
            ("user_input", json!({"image_url": url, "user_input": "x".repeat(501)})),
            ("user_input", json!({"image_url": url, "user_input": "a\u{0}b"})),
            ("idempotency_key", json!({"image_url": url, "idempotency_key": "x".repeat(201)})),
        ] {
            let answer = alice.post(CLASSIFY, &body).await;
            answer.refused(400, "VALIDATION_FAILED");
            assert!(answer.text().contains(field), "{field}: {}", answer.text());
        }
        for query in
            ["from_date=yesterday", "from_date=2026-02-30", "to_date=2026-13-01", "page_size=201", "page_size=-1"]
        {
            alice.get(&format!("/api/v1/scan/history?{query}")).await.refused(400, "VALIDATION_FAILED");
        }
        assert_eq!(alice.get("/api/v1/scan/history?category=CATEGORY_GOLD").await.status, 400);
        alice.get("/api/v1/scan/history?page_token=x").await.refused(400, "PAGE_TOKEN_INVALID");
        alice.get("/api/v1/scan/tasks/none").await.refused(400, "VALIDATION_FAILED");
        assert_eq!(history(&alice, "").await, Vec::<Value>::new());
    });
}

#[test]
fn history_is_found_by_day_and_category_and_in_pages() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let mut mine = Vec::new();
        for photo in ["bottle.jpg", "can.png", "jar.webp"] {
            mine.push(scanned(&alice, photo).await);
        }
        mine.reverse();
        assert_eq!(history(&alice, "").await, mine);
        assert_eq!(history(&alice, "category=CATEGORY_CAN").await, [mine[1].clone()]);
        // One of long ago.
        let old = mine[2]["task_id"].as_str().unwrap();
        let aged = "set day = '2020-01-31', created_at = '2020-01-31T12:00:00Z'";
        mesh.db.execute(&format!("update scan.tasks {aged} where id = '{old}'")).await;
        for (query, wanted) in [
            ("to_date=2020-01-31", 1),
            ("to_date=2020-01-30", 0),
            ("from_date=2020-01-31&to_date=2020-01-31&category=CATEGORY_PET", 1),
            ("from_date=2020-02-01", 2),
            ("from_date=2020-01-31", 3),
        ] {
            assert_eq!(history(&alice, query).await.len(), wanted, "{query}");
        }
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = alice.get(&format!("/api/v1/scan/history?page_size=1&page_token={token}")).await.expect(200);
            seen.extend(page["tasks"].as_array().unwrap().iter().map(|task| task["task_id"].clone()));
            token = page["next_page_token"].as_str().unwrap().to_owned();
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, mine.iter().map(|task| task["task_id"].clone()).collect::<Vec<_>>());
    });
}

#[test]
fn whoever_asks_for_more_than_may_wait_is_told_to_come_later() {
    run(async {
        let mesh = mesh()
            .setting("scan.worker", "external")
            .setting("scan.auto_classify", false)
            .setting("scan.max_open", 1_i64)
            .start()
            .await;
        let alice = mesh.persona("alice").await;
        let (first, second) = (Taken::by(&alice, "can.png").await, Taken::by(&alice, "box.jpg").await);
        let asked = alice.post(CLASSIFY, &json!({"image_id": first.id()})).await.expect(202);
        let refused = alice.post(CLASSIFY, &json!({"image_id": second.id()})).await;
        refused.refused(503, "OVERLOADED");
        assert_eq!(refused.header("retry-after"), "5");
        // What is there is answered all the same.
        assert_eq!(alice.post(CLASSIFY, &json!({"image_id": first.id()})).await.expect(202), asked);
    });
}
