//! A photo that is registered is classified, told, counted, and worth something once.

use coreloop_image_api::v1::FindImageRequest;
use coreloop_sandbox::PHOTOS;
use coreloop_scan_api::v1::{Category, FindByImageRequest, FindByImageResponse};
use coreloop_testkit::{PASSWORD, rpc, run, wait::wait_for, wait_until};
use futures::future::join_all;
use prost::Message as _;
use serde_json::{Value, json};

use super::stage::{MESH, ended, found, history, is_once, mesh, said_of, scanned, task, tell_again};
use crate::eco::stage::{LONG, Taken, plain};

#[test]
fn each_sample_photo_is_what_the_model_sees_in_it() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let taken = join_all(PHOTOS.iter().map(|photo| Taken::by(&alice, photo.name))).await;
        for (photo, taken) in PHOTOS.iter().zip(&taken) {
            let task = ended(&alice, taken.id()).await;
            found(&task, &format!("CATEGORY_{}", photo.category.to_uppercase()));
            let (earns, reason) = match photo.name {
                "night.jpg" => ("REWARD_STATUS_NONE", "LOW_CONFIDENCE"),
                "wall.webp" => ("REWARD_STATUS_NONE", "UNKNOWN_CATEGORY"),
                _ => ("REWARD_STATUS_PENDING", ""),
            };
            assert_eq!(task["reward_eligible"], photo.sure, "{task}");
            assert_eq!((&task["reward_status"], &task["reward_reason"]), (&json!(earns), &json!(reason)), "{task}");
            assert!(!task["guidance"].as_str().unwrap().is_empty(), "{task}");
            is_once(mesh, &alice, &task).await;
            let path = format!("/api/v1/scan/tasks/{}", task["task_id"].as_str().unwrap());
            for _ in 0..2 {
                assert_eq!(alice.get(&path).await.expect(200)["task"], task, "from Postgres, and from Redis");
            }
        }
        let stats = alice.get("/api/v1/scan/stats").await.expect(200);
        for period in ["today", "week", "month"] {
            assert_eq!((&stats[period]["total"], &stats[period]["recyclable"]), (&json!(6), &json!(4)), "{stats}");
        }
        assert_eq!(stats["today"]["categories"].as_array().unwrap().len(), 6);
    });
}

/// Nothing that opens a photo, or was said of it to its owner alone, leaves the table of tasks.
#[test]
fn facts_hold_no_address_and_no_words_of_the_model() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let task = scanned(&alice, "jar.webp").await;
        for (table, column) in
            [("outbox", "payload"), ("events", "payload"), ("processed_events", "result"), ("held_events", "envelope")]
        {
            let secret = format!("select count(*) from scan.{table} where {column}::text ~ 'X-Amz|uploads/'");
            assert_eq!(mesh.db.count(&secret).await, 0, "{table}");
        }
        let told = "select count(*) from scan.outbox where payload::text like '%take off the cap%'";
        assert!(task["guidance"].as_str().unwrap().contains("take off the cap"), "{task}");
        assert_eq!(mesh.db.count(told).await, 0);
    });
}

#[test]
fn what_is_answered_is_remembered_for_an_hour_and_a_result_for_a_day() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let mut redis = mesh.redis.connect().await;
        // What earns nothing is over; what is to be rewarded is not.
        for (photo, name, most) in [("night.jpg", "result", 86_400), ("bottle.jpg", "task", 3_600)] {
            let task = scanned(&alice, photo).await;
            let id = task["task_id"].as_str().unwrap();
            alice.get(&format!("/api/v1/scan/tasks/{id}")).await.expect(200);
            let key = format!("scan:{name}:{id}");
            let life: i64 = redis::cmd("TTL").arg(&key).query_async(&mut redis).await.unwrap();
            assert!((most - 120..=most).contains(&life), "{key}: {life}");
        }
    });
}

#[test]
fn the_same_photo_sent_again_earns_nothing() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let sent = join_all((0..4).map(|_| Taken::by(&alice, "bottle.jpg"))).await;
        let tasks = join_all(sent.iter().map(|taken| ended(&alice, taken.id()))).await;
        let (earned, others): (Vec<&Value>, Vec<&Value>) =
            tasks.iter().partition(|task| task["reward_eligible"] == true);
        assert_eq!(earned.len(), 1, "{tasks:?}");
        for task in others {
            found(task, "CATEGORY_PET");
            assert_eq!(task["reward_reason"], "DUPLICATE_PHOTO");
        }
        // Later, too; and bob's is bob's.
        assert_eq!(scanned(&alice, "bottle.jpg").await["reward_reason"], "DUPLICATE_PHOTO");
        assert_eq!(scanned(&bob, "bottle.jpg").await["reward_eligible"], true);
        let earned = format!("select count(*) from scan.earned where user_id = '{}'", alice.user_id);
        assert_eq!(mesh.db.count(&earned).await, 1);
        is_once(mesh, &alice, &tasks[0]).await;
    });
}

#[test]
fn a_service_finds_the_task_of_an_image() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::by(&alice, "can.png").await;
        ended(&alice, taken.id()).await;
        let bearer = format!("Bearer {}", mesh.machine_token("image", "scan").await);
        let (path, metadata) =
            ("/coreloop.scan.v1.ScanInternalService/FindByImage", [("authorization", bearer.as_str())]);
        let find = async |image_id: String| {
            let asked = FindByImageRequest { image_id }.encode_to_vec();
            rpc::call(&mesh.grpc("scan"), path, &asked, &metadata).await
        };
        let known = FindByImageResponse::decode(find(taken.id().to_owned()).await.unwrap()).unwrap();
        assert_eq!((known.user_id, known.task.unwrap().category()), (alice.user_id.clone(), Category::Can));
        let none = find(uuid::Uuid::new_v4().to_string()).await.unwrap_err();
        assert_eq!(rpc::reason(&none), "TASK_NOT_FOUND");
    });
}

#[test]
fn an_image_is_answered_with_what_scan_says_of_it() {
    run(async {
        let mut mesh = mesh().split().setting("scan.auto_classify", false).start().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::by(&alice, "can.png").await;
        // Scan is given a second, which a busy machine may take for itself.
        let seen = async |is_stale: bool| {
            wait_for(format!("what scan says is stale: {is_stale}"), LONG, async || {
                let seen = alice.get(&taken.path()).await.expect(200);
                assert_eq!(plain(&seen["image"]), taken.image);
                (seen["analysis_stale"] == is_stale).then(|| seen["analysis"].clone())
            })
            .await
        };
        assert_eq!(seen(false).await, Value::Null, "nobody has asked");
        alice.post("/api/v1/scan/classify", &json!({"image_id": taken.id()})).await.expect(202);
        let task = ended(&alice, taken.id()).await;
        said_of(&seen(false).await, &task);
        mesh.node_mut(0, "scan").kill().await;
        assert_eq!(seen(true).await, Value::Null, "the image alone");
    });
}

#[test]
fn whoever_leaves_takes_their_scans_along() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        scanned(&alice, "bottle.jpg").await;
        let kept = scanned(&bob, "bottle.jpg").await;
        alice.post("/api/v1/auth/withdraw", &json!({"password": PASSWORD})).await.expect(200);
        let rows = |user: &str| {
            let of = |table: &str| format!("(select count(*) from scan.{table} where user_id = '{user}')");
            format!("select {} + {} + {}", of("tasks"), of("earned"), of("daily"))
        };
        wait_until("nothing is left", LONG, async || mesh.db.count(&rows(&alice.user_id)).await == 0).await;
        // What is heard late of them does not begin.
        let late = tell_again(mesh, "events.image.registered", &alice).await;
        let heard = format!("select count(*) from scan.processed_events where idempotency_key = 'scan.facts:{late}'");
        wait_until("it was heard", LONG, async || mesh.db.count(&heard).await == 1).await;
        assert_eq!(mesh.db.count(&rows(&alice.user_id)).await, 0);
        assert_eq!(mesh.db.count(&rows(&bob.user_id)).await, 3);
        assert_eq!(history(&bob, "").await, [kept]);
    });
}

/// The model's word does not go with the photo; where it was is asked for anew, each time.
#[test]
fn a_photo_that_is_gone_keeps_its_result() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::by(&alice, "box.jpg").await;
        let before = ended(&alice, taken.id()).await;
        alice.delete(&taken.path()).await.expect(200);
        taken.is_gone(mesh).await;
        assert_eq!(task(&alice, taken.id(), |_| true).await, before);
        let asked = FindImageRequest { image_id: taken.id().to_owned() }.encode_to_vec();
        let bearer = format!("Bearer {}", mesh.machine_token("scan", "image").await);
        let path = "/coreloop.image.v1.ImageInternalService/FindImage";
        let gone = rpc::call(&mesh.grpc("image"), path, &asked, &[("authorization", bearer.as_str())]).await;
        assert_eq!(rpc::reason(&gone.unwrap_err()), "IMAGE_NOT_FOUND");
    });
}
