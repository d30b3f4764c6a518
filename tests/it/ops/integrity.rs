//! What must hold, recomputed on demand and daily, by one process at a time; and what an operator looks at first.

use std::time::Duration;

use coreloop_testkit::{Persona, Rest, TestMesh, run, wait::wait_for};
use jiff::SignedDuration;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

const PATIENCE: Duration = Duration::from_secs(60);

/// Asks for checks; answers their runs by what they are of.
async fn start(admin: &Persona, checks: Value) -> Vec<Value> {
    let path = "/admin/maintenance/integrity-check";
    let answer = admin.post(path, &json!({ "checks": checks })).await.expect(202);
    answer["runs"].as_array().cloned().unwrap_or_default()
}

/// The run, once it has ended.
async fn ended(admin: &Persona, run: &Value) -> Value {
    let path = format!("/admin/maintenance/runs/{}", run["id"].as_str().unwrap());
    wait_for("the run has ended", PATIENCE, async || {
        let run = admin.get(&path).await.expect(200)["run"].clone();
        ["RUN_STATE_DONE", "RUN_STATE_FAILED"].iter().any(|state| run["state"] == **state).then_some(run)
    })
    .await
}

async fn execute(mesh: &TestMesh, sql: &'static str) {
    let mut connection = PgConnection::connect(&mesh.db.url()).await.unwrap();
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
}

/// Waits until the first day's own runs are over: who asks while they are under way is given those.
async fn daily_over(mesh: &TestMesh) {
    let (all, open) = ("select count(*) from ops.runs", "select count(*) from ops.runs where ended_at is null");
    wait_for("the day's runs are over", PATIENCE, async || {
        (mesh.db.count(all).await > 0 && mesh.db.count(open).await == 0).then_some(())
    })
    .await;
}

/// Waits until the metrics say that a check was unsound.
async fn alarmed(mesh: &TestMesh, check: &str) {
    let metrics = Rest::to(format!("http://{}", mesh.node(0, "ops").running().admin_addr));
    let unsound = format!("ops_check_unsound{{check=\"{check}\"}} 1");
    wait_for("the metrics tell of it", PATIENCE, async || {
        metrics.get("/metrics").send().await.text().contains(&unsound).then_some(())
    })
    .await;
}

/// `StartIntegrityCheck`, `GetRun`, `ListRuns`; and between the services `ListChecks`, `RunCheck`.
#[test]
fn what_must_hold_is_recomputed_when_an_administrator_asks() {
    run(async {
        let mesh = TestMesh::builder()
            .split()
            .replicas(2)
            .setting("ops.runs_secs", 1_i64)
            .setting("ops.round_secs", 1_i64)
            .start()
            .await;
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        daily_over(&mesh).await;
        let asked = start(&admin, json!([])).await;
        let subjects: Vec<&str> = asked.iter().filter_map(|run| run["subject"].as_str()).collect();
        for check in ["ops.audit", "wallet.ledger"] {
            assert!(subjects.contains(&check), "{subjects:?}");
        }
        for run in &asked {
            let run = ended(&admin, run).await;
            assert_eq!((&run["state"], &run["sound"]), (&json!("RUN_STATE_DONE"), &json!(true)), "{run}");
            assert_eq!((&run["asked_by"], &run["attempts"]), (&json!(admin.user_id), &json!(1)), "{run}");
            assert!(!run["counts"].as_array().unwrap().is_empty(), "{run}");
        }
        // What does not fit is told, and where.
        execute(
            &mesh,
            "alter table wallet.accounts disable trigger user;
             update wallet.accounts set balance = balance + 1
              where owner = (select owner from wallet.accounts order by owner limit 1) and currency = 1",
        )
        .await;
        let asked = start(&admin, json!(["wallet.ledger"])).await;
        let run = ended(&admin, &asked[0]).await;
        assert_eq!(
            (&run["state"], run["sound"].as_bool().unwrap_or_default()),
            (&json!("RUN_STATE_DONE"), false),
            "{run}"
        );
        let what: Vec<&str> =
            run["findings"].as_array().unwrap().iter().filter_map(|finding| finding["what"].as_str()).collect();
        assert!(what.contains(&"currency_sum") && what.contains(&"balance"), "{run}");
        // One unit, and whoever is to be woken is.
        alarmed(&mesh, "wallet.ledger").await;

        let list = admin.get("/admin/maintenance/runs?subject=wallet.ledger&page_size=1").await.expect(200);
        assert_eq!(list["runs"][0]["id"], run["id"]);
        let token = list["next_page_token"].as_str().unwrap();
        let next = format!("/admin/maintenance/runs?subject=wallet.ledger&page_size=1&page_token={token}");
        assert_eq!(admin.get(&next).await.expect(200)["runs"][0]["sound"], true);
        admin.get(&format!("/admin/maintenance/runs?page_token={token}")).await.refused(400, "PAGE_TOKEN_INVALID");
        let nobody = uuid::Uuid::from_u128(1);
        admin.get(&format!("/admin/maintenance/runs/{nobody}")).await.refused(404, "RUN_NOT_FOUND");
        let path = "/admin/maintenance/integrity-check";
        admin.post(path, &json!({"checks": ["wallet.nothing"]})).await.refused(404, "CHECK_UNKNOWN");
        admin.post(path, &json!({"checks": ["nobody.ledger"]})).await.refused(404, "CHECK_UNKNOWN");
        admin.post(path, &json!({"checks": ["a;b"]})).await.refused(400, "VALIDATION_FAILED");
        alice.post(path, &json!({})).await.refused(403, "ROLE_REQUIRED");
        let doubled = "select count(*) from ops.runs where attempts > 1";
        assert_eq!(mesh.db.count(doubled).await, 0, "one replica did each");
        let started = "select count(*) from ops.audits where action = 'ops.integrity.start' and step = 'asked'";
        assert_eq!(mesh.db.count(started).await, 4, "those that were let through");
    });
}

/// Asked for by nobody; and a run whose process died is begun again.
#[test]
fn what_must_hold_is_recomputed_daily_and_after_a_death() {
    run(async {
        let mesh = TestMesh::builder().setting("ops.round_secs", 1_i64).setting("ops.runs_secs", 1_i64).start().await;
        let daily = "select count(*) from ops.runs
                      where asked_by = 'schedule' and subject = 'ops.audit' and state = 'done' and sound";
        let after = async |what: &'static str, runs: i64| {
            wait_for(what, PATIENCE, async || (mesh.db.count(daily).await >= runs).then_some(())).await;
        };
        after("the first day's run", 1).await;
        assert_eq!(mesh.db.count(daily).await, 1, "once a day");
        // Of a check that no service has any more there is nothing to tell.
        execute(
            &mesh,
            "insert into ops.runs (id, job, subject, state, asked_by, asked_at, started_at, ended_at, attempts, error) values
                 (gen_random_uuid(), 'integrity', 'ops.removed', 'failed', 'test', now(), now(), now(), 1, 'CHECK_UNKNOWN')",
        )
        .await;
        mesh.clock.advance(SignedDuration::from_hours(25));
        after("the next day's run", 2).await;
        let metrics = mesh.node(0, "ops").running().admin_addr;
        let metrics = Rest::to(format!("http://{metrics}"));
        wait_for("the metrics tell of it", PATIENCE, async || {
            let text = metrics.get("/metrics").send().await.text();
            let sound_at = text.lines().find_map(|line| line.strip_prefix("ops_check_sound_at{check=\"ops.audit\"} "));
            let today = sound_at?.parse::<i64>().unwrap() > mesh.now() - 3_600;
            let told = today && text.contains("ops_check_unsound{check=\"ops.audit\"} 0");
            assert!(!text.contains("ops.removed"), "{text}");
            told.then_some(())
        })
        .await;
        let open = "select count(*) from ops.runs where state in ('asked', 'running')";
        wait_for("nothing runs", PATIENCE, async || (mesh.db.count(open).await == 0).then_some(())).await;
        // As if a process had died in the midst of it; and another that did so three times.
        execute(
            &mesh,
            "insert into ops.runs (id, job, subject, state, asked_by, asked_at, started_at, attempts) values
                 (gen_random_uuid(), 'integrity', 'wallet.ledger', 'running', 'test', now() + interval '2 days', now(), 1),
                 (gen_random_uuid(), 'integrity', 'test.deadly', 'running', 'test', now(), now(), 3)",
        )
        .await;
        let again = "select count(*) from ops.runs where asked_by = 'test' and state = 'done' and attempts = 2";
        wait_for("it was begun again", PATIENCE, async || (mesh.db.count(again).await == 1).then_some(())).await;
        let failed = "select count(*) from ops.runs where subject = 'test.deadly' and state = 'failed' and error <> ''";
        assert_eq!(mesh.db.count(failed).await, 1);
    });
}

/// As when the service was being replaced at that minute.
#[test]
fn a_daily_check_that_came_to_nothing_is_tried_again_in_minutes_and_not_tomorrow() {
    run(async {
        let mesh = TestMesh::builder().setting("ops.round_secs", 1_i64).setting("ops.runs_secs", 1_i64).start().await;
        let sound = "select count(*) from ops.runs where subject = 'ops.audit' and state = 'done' and sound";
        let wait = async |what: &'static str, wanted: i64| {
            wait_for(what, PATIENCE, async || (mesh.db.count(sound).await == wanted).then_some(())).await;
        };
        wait("the first day's run", 1).await;
        let fail = "update ops.runs set state = 'failed', sound = null, error = 'away' where subject = 'ops.audit'";
        execute(&mesh, fail).await;
        assert_eq!(mesh.db.count(sound).await, 0);
        mesh.clock.advance(SignedDuration::from_mins(11));
        wait("it was run again", 1).await;
        assert_eq!(mesh.db.count("select count(*) from ops.runs where subject = 'ops.audit'").await, 2);
    });
}

/// `GetHealth`, `GetDashboard`, `ListQueues`.
#[test]
fn an_operator_sees_at_once_who_is_away_and_what_lies_about() {
    run(async {
        let mut mesh = TestMesh::builder().split().start().await;
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        let health = wait_for("everybody is up", PATIENCE, async || {
            Some(admin.get("/admin/health").await.expect(200)).filter(|health| health["up"] == true)
        })
        .await;
        for service in ["auth", "edge", "ops", "wallet"] {
            let known = health["services"].as_array().unwrap().iter().any(|one| one["service"] == service);
            assert!(known, "{service}: {health}");
        }
        execute(
            &mesh,
            "insert into auth.held_events (consumer, id, topic, key, envelope, payload, state, failures, reason, error, held_at, due_at)
             select 'auth.greeter', gen_random_uuid(), 'events.auth.x', 'k' || n, '{}', '', state, 3, 'POISON', 'e', now() - interval '2 hours', now()
               from unnest(array['dead', 'dead', 'archived', 'retry']) with ordinality as s(state, n)",
        )
        .await;
        let dashboard = admin.get("/admin/dashboard").await.expect(200);
        let queue = &dashboard["queues"][0];
        assert_eq!((&queue["queue"], &queue["dead"]), (&json!("auth.greeter"), &json!(2)), "{dashboard}");
        assert_eq!((&queue["archived"], &queue["waiting"]), (&json!(1), &json!(1)));
        assert!(dashboard["acts"].as_i64().unwrap() >= 1);
        // Looked at again while it is kept, it is the same. A machine that is too busy may keep none, or not for long enough.
        wait_for("it is kept", PATIENCE, async || {
            let (one, again) =
                (admin.get("/admin/dashboard").await.expect(200), admin.get("/admin/dashboard").await.expect(200));
            (one["at"] == again["at"]).then_some(())
        })
        .await;
        mesh.node_mut(0, "wallet").stop().await;
        let health = admin.get("/admin/health").await.expect(200);
        assert!(!health["up"].as_bool().unwrap_or_default(), "{health}");
        // One that is only slow to answer is told of for that moment.
        let queues = wait_for("the wallet alone is away", PATIENCE, async || {
            Some(admin.get("/admin/dlq").await.expect(200)).filter(|queues| queues["unreachable"] == json!(["wallet"]))
        })
        .await;
        assert_eq!(queues["queues"][0]["dead"], 2, "{queues}");
        for path in ["/admin/dashboard", "/admin/health", "/admin/dlq"] {
            alice.get(path).await.refused(403, "ROLE_REQUIRED");
        }
    });
}
