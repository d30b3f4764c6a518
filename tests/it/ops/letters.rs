//! Dead letters, looked after by an administrator over REST, on the real parts: the service whose letters they are decides.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use coreloop_db::Transaction;
use coreloop_eventing::{Consumer, Event, Failure, Handler, Options};
use coreloop_facts::v1::AuthUserRegistered;
use coreloop_testkit::{Persona, TestMesh, rpc, run, wait_until};
use serde_json::{Value, json};
use sqlx::PgPool;
use tonic::Code;
use uuid::Uuid;

use crate::eventing::stage::{Running, parts};

const QUEUE: &str = "auth.greeter";
const PATIENCE: Duration = Duration::from_secs(30);

/// Greets whoever registers, by a row; those whose id ends in nothing it can read it cannot, until it is mended.
#[derive(Clone, Default)]
struct Greeter {
    mended: Arc<AtomicBool>,
}

#[async_trait]
impl Handler for Greeter {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        let fact: AuthUserRegistered = event.decode()?;
        if !self.mended.load(Ordering::SeqCst) {
            let reason = if fact.user_id.as_bytes()[35].is_multiple_of(2) { "EVEN" } else { "ODD" };
            return Err(Failure::permanent(reason, "cannot greet"));
        }
        sqlx::query("insert into auth.greeted values ($1)").bind(&fact.user_id).execute(&mut **tx).await?;
        Ok(())
    }
}

struct Scene {
    mesh: TestMesh,
    greeter: Greeter,
    admin: Persona,
    people: Vec<Persona>,
    running: Running,
    pool: PgPool,
}

impl Scene {
    /// Six people whom nobody could greet, and an administrator.
    async fn set() -> Self {
        let mesh = TestMesh::start().await;
        mesh.db.execute("create table auth.greeted (user_id text primary key)").await;
        let pool = PgPool::connect(&mesh.db.url()).await.unwrap();
        let admin = mesh.admin().await;
        let options = Options { poll_ms: 100, standby_ms: 100, ..Options::default() };
        let greeter = Greeter::default();
        let consumer = Consumer::new(QUEUE, parts(&pool, &mesh.redis.url(), &options).await, greeter.clone()).unwrap();
        let running = Running::of(consumer.hears::<AuthUserRegistered>().unwrap().worker());
        let mut people = Vec::new();
        for name in ["ann", "bob", "cho", "dan", "eve", "fay"] {
            people.push(mesh.persona(name).await);
        }
        let scene = Self { mesh, greeter, admin, people, running, pool };
        let ours: Vec<&str> = scene.people.iter().map(|person| person.user_id.as_str()).collect();
        let dead =
            format!("select count(*) from auth.held_events where state = 'dead' and key in ('{}')", ours.join("', '"));
        wait_until("all are dead letters", PATIENCE, async || scene.mesh.db.count(&dead).await == 6).await;
        scene
    }

    /// The dead letters of the people, oldest first.
    async fn letters(&self) -> Vec<Value> {
        let answer = self.admin.get(&format!("/admin/dlq/{QUEUE}?page_size=200")).await.expect(200);
        let letters = answer["dead_letters"].as_array().cloned().unwrap_or_default();
        let ours = |letter: &Value| self.people.iter().any(|person| letter["key"] == person.user_id.as_str());
        letters.into_iter().filter(ours).collect()
    }

    /// All dead letters of the queue, four at a time.
    async fn paged(&self) -> Vec<Value> {
        let (mut paged, mut token) = (Vec::new(), String::new());
        loop {
            let path = format!("/admin/dlq/{QUEUE}?page_size=4&page_token={token}");
            let page = self.admin.get(&path).await.expect(200);
            paged.extend(page["dead_letters"].as_array().cloned().unwrap_or_default());
            token = page["next_page_token"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                return paged;
            }
            let other = format!("/admin/dlq/auth.other?page_token={token}");
            self.admin.get(&other).await.refused(400, "PAGE_TOKEN_INVALID");
        }
    }

    async fn ask(&self, what: &str, body: Value) -> Value {
        self.admin.post(&format!("/admin/dlq/{what}"), &body).await.expect(200)
    }

    async fn greeted(&self, person: &Persona) -> i64 {
        self.mesh.db.count(&format!("select count(*) from auth.greeted where user_id = '{}'", person.user_id)).await
    }
}

#[test]
fn a_dead_letter_is_looked_at_tried_again_and_discarded_and_it_is_known_by_whom() {
    run(async {
        let scene = Scene::set().await;
        let letters = scene.letters().await;
        assert_eq!(letters.len(), 6);
        let first = &letters[0];
        assert_eq!((&first["queue"], &first["topic"]), (&json!(QUEUE), &json!("events.auth.user_registered")));
        let why = format!("{}: cannot greet", first["reason"].as_str().unwrap());
        assert_eq!((&first["failures"], &first["error"]), (&json!(1), &json!(why)));
        assert!(first.get("json").is_none(), "a list does not tell what letters say: {first}");
        let id = first["id"].as_str().unwrap().to_owned();

        // Page by page they are the same.
        let paged = scene.paged().await;
        let ours = |letter: &&Value| letters.iter().any(|known| known["id"] == letter["id"]);
        assert_eq!(paged.iter().filter(ours).collect::<Vec<_>>(), letters.iter().collect::<Vec<_>>());

        // InspectDeadLetter
        let whole = &scene.admin.get(&format!("/admin/dlq/{QUEUE}/{id}")).await.expect(200)["dead_letter"];
        let said: Value = serde_json::from_str(whole["json"].as_str().unwrap()).unwrap();
        assert_eq!((&said["user_id"], &said["method"]), (&first["key"], &json!("password")));
        assert!(whole["envelope"].as_str().unwrap().contains("trace_id"));

        // DiscardDeadLetters
        assert_eq!(scene.ask("discard", json!({"queue": QUEUE, "count": 1, "id": id})).await["discarded"], 1);
        assert_eq!(scene.letters().await.len(), 5);
        let gone = scene.admin.get(&format!("/admin/dlq/{QUEUE}/{id}")).await;
        gone.refused(404, "DEAD_LETTER_NOT_FOUND");

        // ReprocessDeadLetters: those of one reason, then the rest.
        scene.greeter.mended.store(true, Ordering::SeqCst);
        let even = letters[1..].iter().filter(|letter| letter["reason"] == "EVEN").count();
        let tried = scene.ask("reprocess", json!({"queue": QUEUE, "count": 1000, "filter_reason": "EVEN"})).await;
        assert!(tried["reprocessed"].as_u64().unwrap() >= even as u64, "{tried}");
        wait_until("those are greeted", PATIENCE, async || scene.letters().await.len() == 5 - even).await;
        scene.ask("reprocess", json!({"queue": QUEUE, "count": 1000})).await;
        for person in scene.people.iter().filter(|person| first["key"] != person.user_id.as_str()) {
            wait_until("everybody is greeted", PATIENCE, async || scene.greeted(person).await == 1).await;
        }
        let discarded = scene.people.iter().find(|person| first["key"] == person.user_id.as_str()).unwrap();
        assert_eq!(scene.greeted(discarded).await, 0);
        assert!(scene.letters().await.is_empty());

        // Two rows an act, in order, and nobody can change them.
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "select action, min(actor), count(*) filter (where step in ('asked', 'done'))
             from ops.audits where action !~ 'list|inspect' group by act, action order by min(created_at)",
        )
        .fetch_all(&scene.pool)
        .await
        .unwrap();
        let by = &scene.admin.user_id;
        let row = |action: &str| (format!("ops.dead_letters.{action}"), by.clone(), 2);
        assert_eq!(rows, [row("discard"), row("reprocess"), row("reprocess")]);
        let failed = "select count(*) from ops.audits where step = 'failed' and action = 'ops.dead_letters.inspect'";
        assert_eq!(scene.mesh.db.count(failed).await, 1);
        for change in ["update ops.audits set actor = ''", "delete from ops.audits", "truncate ops.audits"] {
            sqlx::query(change).execute(&scene.pool).await.unwrap_err();
        }
        scene.running.stop().await;
        scene.pool.close().await;
    });
}

#[test]
fn only_administrators_look_after_dead_letters_and_only_through_ops() {
    run(async {
        let mesh = TestMesh::builder().split().start().await;
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        let list = format!("/admin/dlq/{QUEUE}");
        alice.visitor.get(&list).await.refused(401, "TOKEN_MISSING");
        alice.get(&list).await.refused(403, "ROLE_REQUIRED");
        let all = json!({"queue": QUEUE, "count": 1});
        for what in ["reprocess", "discard"] {
            let path = format!("/admin/dlq/{what}");
            alice.post(&path, &all).await.refused(403, "ROLE_REQUIRED");
            admin.post(&path, &all).await.expect(200);
            for (wrong, status, reason) in [
                (json!({"queue": "nobody.greeter", "count": 1}), 404, "QUEUE_UNKNOWN"),
                (json!({"queue": "edge.greeter", "count": 1}), 404, "QUEUE_UNKNOWN"),
                (json!({"queue": "wallet.greeter", "count": 1}), 404, "QUEUE_UNKNOWN"),
                (json!({"queue": "auth", "count": 1}), 400, "VALIDATION_FAILED"),
                (json!({"queue": "auth.a; drop", "count": 1}), 400, "VALIDATION_FAILED"),
                (json!({"queue": QUEUE}), 400, "VALIDATION_FAILED"),
                (json!({"queue": QUEUE, "count": 1001}), 400, "VALIDATION_FAILED"),
                (json!({"queue": QUEUE, "count": 1, "id": "x"}), 400, "VALIDATION_FAILED"),
            ] {
                admin.post(&path, &wrong).await.refused(status, reason);
            }
        }
        let nobody = format!("{list}/{}", Uuid::from_u128(1));
        admin.get(&nobody).await.refused(404, "DEAD_LETTER_NOT_FOUND");
        // Whoever reaches the service itself, in its own network, is nobody without an administrator's token.
        for rpc in ["FindDeadLetters", "RetryDeadLetters", "DropDeadLetters", "CountDeadLetters"] {
            let path = format!("/coreloop.ops.v1.DeadLetterService/{rpc}");
            for token in ["", &format!("Bearer {}", alice.access_token)] {
                let refused = rpc::call(&mesh.grpc("auth"), &path, &[], &[("authorization", token)]).await.unwrap_err();
                assert!([Code::Unauthenticated, Code::PermissionDenied].contains(&refused.code()), "{rpc}: {refused}");
            }
        }
        let asked = mesh.db.count("select count(*) from ops.audits where step = 'asked'").await;
        let ended = mesh.db.count("select count(*) from ops.audits where step <> 'asked'").await;
        assert_eq!((asked, ended), (2 + 2 * 3 + 1, 2 + 2 * 3 + 1), "each act that was let through, twice");
    });
}
