//! A worker outside of the mesh: it leases jobs, loads the photos itself, and says what it found.

use coreloop_testkit::{Answer, Rest, TestMesh, mesh::Builder, run, wait::PATIENCE, wait_until};
use futures::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{came_to_nothing, ended, found, is_once, looks, mesh, task, told};
use crate::{
    eco::stage::{LONG, Taken, load, photo},
    ops::cli::coreloop,
};

const PULL: &str = "/api/v1/scan/jobs/pull";
const RESULT: &str = "/api/v1/image/ai-result";

fn external() -> Builder {
    mesh().setting("scan.worker", "external")
}

/// A worker, by the front that people call.
async fn worker(mesh: &TestMesh) -> Rest {
    mesh.rest().with_token(mesh.machine_token("vision-worker", "scan").await)
}

async fn pulled(worker: &Rest, asked: Value) -> Vec<Value> {
    worker.post(PULL, &asked).send().await.expect(200)["jobs"].as_array().unwrap().clone()
}

async fn submitted(worker: &Rest, results: &[Value]) -> Answer {
    worker.post(RESULT, &json!({"results": results})).send().await
}

/// What became of each.
async fn judged(worker: &Rest, results: &[Value]) -> Vec<String> {
    let judgements = submitted(worker, results).await.expect(200)["judgements"].as_array().unwrap().clone();
    let word = |judgement: &Value| judgement["judgement"].as_str().unwrap().trim_start_matches("JUDGEMENT_").to_owned();
    judgements.iter().map(word).collect()
}

fn result(job: &Value, category: &str, confidence: f64) -> Value {
    json!({"task_id": job["task_id"], "category": category, "sub_category": "x", "confidence": confidence,
           "guidance": "Rinse it.", "recyclable": true})
}

/// Photos of somebody that wait.
async fn waiting(mesh: &TestMesh, count: i64) {
    let rows = "select count(*) from scan.tasks where state = 1";
    wait_until(format!("{count} wait"), LONG, async || mesh.db.count(rows).await == count).await;
}

#[test]
fn a_job_is_metadata_and_what_is_found_counts_as_the_models_word() {
    run(async {
        let mesh = external().start().await;
        let (alice, worker) = (mesh.persona("alice").await, worker(&mesh).await);
        let taken = Taken::by(&alice, "bottle.jpg").await;
        waiting(&mesh, 1).await;
        let jobs = pulled(&worker, json!({})).await;
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        let job = &jobs[0];
        assert_eq!((&job["image_id"], &job["user_id"]), (&json!(taken.id()), &json!(alice.user_id)));
        assert_eq!((&job["object_key"], &job["cdn_url"]), (&taken.image["object_key"], &taken.image["cdn_url"]));
        assert_eq!(job["waste_hint"], "");
        assert_eq!(load(job["get_url"].as_str().unwrap()).await.body, photo("bottle.jpg").bytes);
        let mut fields: Vec<_> = job.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        let all = ["cdn_url", "get_url", "image_id", "leased_until", "object_key", "task_id", "user_id", "waste_hint"];
        assert_eq!(fields, all, "and no more");
        assert_eq!(judged(&worker, &[result(job, "can/metal", 0.9)]).await, ["TAKEN"]);
        let task = ended(&alice, taken.id()).await;
        found(&task, "CATEGORY_CAN");
        assert_eq!((&task["reward_status"], &task["guidance"]), (&json!("REWARD_STATUS_PENDING"), &json!("Rinse it.")));
        is_once(&mesh, &alice, &task).await;
        assert_eq!(looks(&mesh).await, 0, "our own model was not asked");
    });
}

#[test]
fn workers_have_different_jobs_ten_at_most_until_a_lease_is_over() {
    run(async {
        let mesh = external().split().replicas(2).start().await;
        let alice = mesh.persona("alice").await;
        let taken = join_all((0..12).map(|_| Taken::by(&alice, "can.png"))).await;
        waiting(&mesh, 12).await;
        let token = mesh.machine_token("vision-worker", "scan").await;
        let workers: Vec<Rest> = (0..4).map(|n| Rest::to(mesh.gateway_on(n % 2)).with_token(&token)).collect();
        workers[0].post(PULL, &json!({"max": 11})).send().await.refused(400, "VALIDATION_FAILED");
        let asked = json!({"max": 2, "lease_secs": 60});
        let jobs = join_all(workers.iter().map(|worker| pulled(worker, asked.clone()))).await.concat();
        let mut ids: Vec<_> = jobs.iter().map(|job| job["task_id"].to_string()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 8, "{jobs:?}");
        assert_eq!(pulled(&workers[0], json!({})).await.len(), 4, "what is left");
        assert_eq!(pulled(&workers[1], json!({})).await, Vec::<Value>::new());
        // The eight are open again; the four have a longer lease.
        mesh.clock.advance(SignedDuration::from_secs(61));
        let again = pulled(&workers[1], json!({"lease_secs": 60})).await;
        assert_eq!(again.len(), 8);
        // A late result counts, once; that of whoever has the lease now finds it ended.
        let late = result(&jobs[0], "pet", 0.9);
        assert_eq!(judged(&workers[0], std::slice::from_ref(&late)).await, ["TAKEN"]);
        assert_eq!(judged(&workers[1], &[result(&jobs[0], "glass", 0.9)]).await, ["ENDED"]);
        let image = jobs[0]["image_id"].as_str().unwrap();
        assert!(taken.iter().any(|taken| taken.id() == image));
        let task = ended(&alice, image).await;
        found(&task, "CATEGORY_PET");
        is_once(&mesh, &alice, &task).await;
    });
}

#[test]
fn of_many_who_say_what_a_photo_shows_one_counts() {
    run(async {
        let mesh = external().split().replicas(2).start().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::by(&alice, "can.png").await;
        waiting(&mesh, 1).await;
        let token = mesh.machine_token("vision-worker", "scan").await;
        let workers: Vec<Rest> = (0..2).map(|n| Rest::to(mesh.gateway_on(n)).with_token(&token)).collect();
        let job = pulled(&workers[0], json!({})).await.remove(0);
        let words = ["can", "pet", "glass", "paper"];
        let results: Vec<Value> = (0..8).map(|n| result(&job, words[n % 4], 0.9)).collect();
        let saying = results.iter().enumerate().map(|(n, one)| judged(&workers[n % 2], std::slice::from_ref(one)));
        let said = join_all(saying).await.concat();
        assert_eq!(said.iter().filter(|word| *word == "TAKEN").count(), 1, "{said:?}");
        assert_eq!(said.iter().filter(|word| *word == "ENDED").count(), 7, "{said:?}");
        is_once(&mesh, &alice, &ended(&alice, taken.id()).await).await;
    });
}

#[test]
fn each_result_is_judged_by_itself() {
    run(async {
        let mesh = external().start().await;
        let (alice, worker) = (mesh.persona("alice").await, worker(&mesh).await);
        let taken = join_all(["can.png", "box.jpg", "jar.webp"].map(|name| Taken::by(&alice, name))).await;
        waiting(&mesh, 3).await;
        let jobs = pulled(&worker, json!({})).await;
        let of = |taken: &Taken| jobs.iter().find(|job| job["image_id"] == taken.id()).unwrap();
        let (can, paper, jar) = (of(&taken[0]), of(&taken[1]), of(&taken[2]));
        let blurred = json!({"task_id": jar["task_id"], "failure": "BLURRED"});
        let said = [
            result(can, "gold", 0.9),
            result(can, "can", 1.5),
            result(can, "can", -0.1),
            json!({"task_id": can["task_id"]}),
            result(can, "metal", 0.59),
            result(can, "can", 0.9),
            result(paper, "paper", 0.9),
            blurred,
            result(&json!({"task_id": Uuid::new_v4().to_string()}), "can", 0.9),
            result(&json!({"task_id": "none"}), "can", 0.9),
        ];
        let wanted = [
            "NONSENSE",
            "NONSENSE",
            "NONSENSE",
            "NONSENSE",
            "TAKEN",
            "ENDED",
            "TAKEN",
            "TAKEN",
            "TASK_UNKNOWN",
            "TASK_UNKNOWN",
        ];
        assert_eq!(judged(&worker, &said).await, wanted);
        let unsure = ended(&alice, taken[0].id()).await;
        found(&unsure, "CATEGORY_CAN");
        assert_eq!((&unsure["reward_eligible"], &unsure["reward_reason"]), (&json!(false), &json!("LOW_CONFIDENCE")));
        found(&ended(&alice, taken[1].id()).await, "CATEGORY_PAPER");
        let failed = ended(&alice, taken[2].id()).await;
        came_to_nothing(&failed, "BLURRED");
        assert_eq!(told(&mesh, "failed", &failed).await, 1);
        // Sent again as a whole, nothing happens again.
        let again = judged(&worker, &said).await;
        assert!(!again.contains(&"TAKEN".to_owned()), "{again:?}");
        is_once(&mesh, &alice, &unsure).await;
    });
}

#[test]
fn jobs_are_for_machines_and_batches_have_a_bound() {
    run(async {
        let mesh = external().start().await;
        let (alice, worker) = (mesh.persona("alice").await, worker(&mesh).await);
        for path in [PULL, RESULT] {
            let body = json!({"results": [{"task_id": "x"}]});
            alice.post(path, &body).await.refused(403, "ROLE_REQUIRED");
            mesh.rest().post(path, &body).send().await.refused(401, "TOKEN_MISSING");
            // A token for another service is none for this one.
            let other = mesh.rest().with_token(mesh.machine_token("vision-worker", "image").await);
            other.post(path, &body).send().await.refused(401, "TOKEN_INVALID");
        }
        let one =
            json!({"task_id": Uuid::new_v4().to_string(), "category": "pet", "confidence": 0.9, "recyclable": true});
        submitted(&worker, &std::iter::repeat_n(one.clone(), 11).collect::<Vec<_>>())
            .await
            .refused(400, "VALIDATION_FAILED");
        submitted(&worker, &[]).await.refused(400, "VALIDATION_FAILED");
        let mut wrong = one.clone();
        wrong["failure"] = json!("not a constant");
        submitted(&worker, &[wrong]).await.refused(400, "VALIDATION_FAILED");
        let mut broken = one;
        broken["confidence"] = json!("high");
        assert_eq!(submitted(&worker, &[broken]).await.status, 400);
        worker.post(PULL, &json!({"lease_secs": 3_601})).send().await.refused(400, "VALIDATION_FAILED");
    });
}

#[test]
fn a_job_that_nobody_answers_is_given_up_and_a_photo_that_is_gone_is_none() {
    run(async {
        let mesh = external().setting("scan.max_pulls", 1_i64).setting("scan.sweep_secs", 1_i64).start().await;
        let (alice, worker) = (mesh.persona("alice").await, worker(&mesh).await);
        let (kept, gone) = (Taken::by(&alice, "can.png").await, Taken::by(&alice, "box.jpg").await);
        waiting(&mesh, 2).await;
        alice.delete(&gone.path()).await.expect(200);
        let jobs = pulled(&worker, json!({"lease_secs": 30})).await;
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        came_to_nothing(&ended(&alice, gone.id()).await, "IMAGE_GONE");
        mesh.clock.advance(SignedDuration::from_secs(31));
        let failed = task(&alice, kept.id(), |task| task["state"] == "TASK_STATE_FAILED").await;
        came_to_nothing(&failed, "NO_RESULT");
        assert_eq!(told(&mesh, "failed", &failed).await, 1);
        assert_eq!(pulled(&worker, json!({})).await, Vec::<Value>::new());
        // What comes after all counts.
        assert_eq!(judged(&worker, &[result(&jobs[0], "can", 0.9)]).await, ["TAKEN"]);
        found(&task(&alice, kept.id(), |task| task["state"] == "TASK_STATE_COMPLETED").await, "CATEGORY_CAN");
    });
}

/// What somebody is at comes to nothing when the photo is removed, and what they find of it is late; a result stays.
#[test]
fn a_photo_that_is_removed_ends_its_task() {
    run(async {
        let mesh = external().start().await;
        let (alice, worker) = (mesh.persona("alice").await, worker(&mesh).await);
        let (seen, leased) = (Taken::by(&alice, "can.png").await, Taken::by(&alice, "box.jpg").await);
        waiting(&mesh, 2).await;
        let jobs = pulled(&worker, json!({})).await;
        let of = |taken: &Taken| jobs.iter().find(|job| job["image_id"] == taken.id()).unwrap();
        assert_eq!(judged(&worker, &[result(of(&seen), "can", 0.9)]).await, ["TAKEN"]);
        for taken in [&seen, &leased] {
            alice.delete(&taken.path()).await.expect(200);
        }
        // Nobody asks for it any more: the removal itself ends it.
        let failed = ended(&alice, leased.id()).await;
        came_to_nothing(&failed, "IMAGE_GONE");
        assert_eq!(judged(&worker, &[result(of(&leased), "paper", 0.9)]).await, ["ENDED"]);
        assert_eq!(ended(&alice, leased.id()).await, failed);
        assert_eq!((told(&mesh, "failed", &failed).await, told(&mesh, "completed", &failed).await), (1, 0));
        // The removal of the other was heard before.
        let kept = ended(&alice, seen.id()).await;
        found(&kept, "CATEGORY_CAN");
        is_once(&mesh, &alice, &kept).await;
    });
}

/// The token of a worker outside comes from the command line: for one service, for minutes, and the audit knows of it.
#[test]
fn an_operator_mints_the_token_of_a_worker() {
    run(async {
        let mesh = external().modules(&["image", "scan", "ops"]).start().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::by(&alice, "can.png").await;
        waiting(&mesh, 1).await;
        let mint = ["keys", "mint", "--service", "vision-worker", "--audience", "scan"];
        let printed = coreloop(&mesh, &mint).await.fine();
        let token = printed.trim();
        assert!(!token.contains(char::is_whitespace), "the token and nothing else");
        let worker = mesh.rest().with_token(token);
        assert_eq!(pulled(&worker, json!({})).await[0]["image_id"], taken.id());
        // What has nothing for workers outside, and who is one of the mesh, has none.
        for (service, audience, why) in [
            ("vision-worker", "wallet", "character, scan"),
            ("vision-worker", "nobody", "character, scan"),
            ("shop", "scan", "is a service of the mesh"),
            ("Vision", "scan", "is no name"),
        ] {
            let refused =
                coreloop(&mesh, &["keys", "mint", "--service", service, "--audience", audience]).await.failed();
            assert!(refused.contains(why), "{service}, {audience}: {refused}");
        }
        let audit = coreloop(&mesh, &["audit", "--actor", "cli", "--action", "auth.keys.mint"]).await.fine();
        assert_eq!(audit.lines().count(), 2, "{audit}");
        assert!(audit.contains("asked") && audit.contains("done") && audit.contains("vision-worker"), "{audit}");
        assert!(!audit.contains(token), "what it is, is told to nobody else");
        mesh.clock.advance(SignedDuration::from_mins(6));
        wait_until("it is over", PATIENCE, async || worker.post(PULL, &json!({})).send().await.status == 401).await;
    });
}
