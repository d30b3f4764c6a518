//! The twins on the command line: the product's own binary, on the databases alone.

use std::process::Output;

use coreloop_testkit::{TestMesh, mesh::MASTER_KEY, run, surroundings};
use coreloop_wallet_api::v1::{GrantRequest, GrantResponse};
use prost::Message as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

/// What a command prints, and how it ends.
pub struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

pub async fn coreloop(mesh: &TestMesh, arguments: &[&str]) -> Said {
    let nowhere = tempfile::tempdir().unwrap();
    let address: url::Url = mesh.db.url().parse().unwrap();
    let mut command = tokio::process::Command::new(surroundings::product());
    // What the test run is given by the environment is no setting of the product.
    command.args(arguments).env_clear().current_dir(nowhere.path()).kill_on_drop(true);
    command.env("CORELOOP_MODE", "local").env("CORELOOP_DATABASE__URL", mesh.db.url());
    command.env("CORELOOP_REDIS__URL", mesh.redis.url()).env("CORELOOP_AUTH__MASTER_KEY", MASTER_KEY);
    // Beside everything else that runs here.
    for wait in ["ACQUIRE", "LOCK", "STATEMENT"] {
        command.env(format!("CORELOOP_DATABASE__{wait}_TIMEOUT_MS"), "30000");
    }
    if let Some(password) = address.password() {
        command.env("CORELOOP_DATABASE__PASSWORD", password);
    }
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code(), out: text(stdout), err: text(stderr) }
}

impl Said {
    pub fn fine(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    pub fn failed(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        self.out + &self.err
    }
}

async fn execute(mesh: &TestMesh, sql: &str) {
    let mut connection = PgConnection::connect(&mesh.db.url()).await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

/// Gives somebody gold, as a service does.
async fn grant(mesh: &TestMesh, user: &str, amount: i64, reference: &str) {
    let bearer = format!("Bearer {}", mesh.machine_token("shop", "wallet").await);
    let asked = GrantRequest {
        user_id: user.to_owned(),
        currency: 1,
        amount,
        reason: "test.grant".into(),
        reference: reference.into(),
        idempotency_key: Uuid::new_v4().to_string(),
        ..GrantRequest::default()
    };
    let path = "/coreloop.wallet.v1.WalletInternalService/Grant";
    let headers = [("authorization", bearer.as_str())];
    let answer =
        coreloop_testkit::rpc::call(&mesh.grpc("wallet"), path, &asked.encode_to_vec(), &headers).await.unwrap();
    GrantResponse::decode(answer).unwrap();
}

#[test]
fn a_purchase_is_seen_in_the_ledger_and_what_must_hold_is_recomputed() {
    run(async {
        let mesh = TestMesh::start().await;
        let user = Uuid::new_v4().to_string();
        grant(&mesh, &user, 30, "order-1").await;
        grant(&mesh, &user, 12, "order-2").await;
        let lines = coreloop(&mesh, &["ledger", &user]).await.fine();
        assert_eq!(lines.lines().count(), 2, "{lines}");
        let line = coreloop(&mesh, &["ledger", &user, "--reference", "order-2"]).await.fine();
        assert_eq!(line.lines().count(), 1, "{line}");
        for part in ["GOLD", "+12 = 42", "test.grant", "order-2", "by service:shop"] {
            assert!(line.contains(part), "{part}: {line}");
        }
        let sound = coreloop(&mesh, &["verify", "all"]).await.fine();
        assert!(sound.contains("4 entries: sound"), "{sound}");
        assert!(sound.contains("ops.audit: 0 rows: sound"), "{sound}");
        assert!(sound.contains("image.images: 0 images: sound"), "{sound}");
        assert!(sound.contains("scan.tasks: 0 tasks, 0 people: sound"), "{sound}");
        assert!(sound.contains("shop.purchases: 0 purchases, 0 postings: sound"), "{sound}");
        assert!(sound.contains("rewards.ended: 0 redemptions, 0 grants: sound"), "{sound}");
        execute(
            &mesh,
            &format!(
                "alter table wallet.entries disable trigger user;
                 update wallet.entries set delta = 31, balance_after = 31 where owner = '{user}' and seq = 1"
            ),
        )
        .await;
        let told = coreloop(&mesh, &["verify", "ledger"]).await.failed();
        assert!(told.contains(&user) && told.contains("findings"), "{told}");
    });
}

#[test]
fn dead_letters_are_looked_after_from_the_command_line_and_the_audit_knows() {
    run(async {
        let mesh = TestMesh::start().await;
        execute(
            &mesh,
            "insert into auth.held_events (consumer, id, topic, key, envelope, payload, state, failures, reason, error, held_at, due_at)
             select 'auth.greeter', ('00000000-0000-4000-8000-00000000000' || n)::uuid, 'events.auth.x', 'k' || n,
                    '{\"trace_id\": \"t\"}', '{\"n\": 1}', 'dead', 3, 'POISON', 'POISON: cannot', now(), now()
               from generate_series(1, 3) n",
        )
        .await;
        let queues = coreloop(&mesh, &["dlq", "queues"]).await.fine();
        assert!(queues.contains("auth.greeter  3 dead  0 archived  0 waiting"), "{queues}");
        let list = coreloop(&mesh, &["dlq", "list", "auth.greeter"]).await.fine();
        assert_eq!(list.lines().count(), 3, "{list}");
        let first = "00000000-0000-4000-8000-000000000001";
        let whole = coreloop(&mesh, &["dlq", "show", "auth.greeter", first]).await.fine();
        assert!(whole.contains("{\"n\": 1}"), "{whole}");
        let gone = coreloop(&mesh, &["dlq", "discard", "auth.greeter", "--id", first]).await.fine();
        assert!(gone.contains("1 deleted"), "{gone}");
        coreloop(&mesh, &["dlq", "show", "auth.greeter", first]).await.failed();
        let which = coreloop(&mesh, &["dlq", "reprocess", "auth.greeter"]).await.failed();
        assert!(which.contains("say which"), "{which}");
        let tried = coreloop(&mesh, &["dlq", "reprocess", "auth.greeter", "--count", "10"]).await.fine();
        assert!(tried.contains("2 will be tried again"), "{tried}");
        coreloop(&mesh, &["dlq", "list", "nobody.greeter"]).await.failed();

        let audit = coreloop(&mesh, &["audit", "--actor", "cli", "--action", "ops.dead_letters.discard"]).await.fine();
        assert_eq!(audit.lines().count(), 2, "{audit}");
        assert!(audit.contains("asked") && audit.contains("done"), "{audit}");
        let sound = coreloop(&mesh, &["verify", "audit"]).await.fine();
        assert!(sound.contains("sound"), "{sound}");
        execute(
            &mesh,
            "alter table ops.audits disable trigger user; update ops.audits set subject = 'auth.other' where seq = 3",
        )
        .await;
        let told = coreloop(&mesh, &["verify", "audit"]).await.failed();
        assert!(told.contains("ops.audit: chain, row 3"), "{told}");
        assert_eq!(coreloop(&mesh, &["runs"]).await.fine(), "");
    });
}
