//! What the database decides: idempotency keys, leases, roles and migrations, on the real Postgres.

use std::{sync::Arc, time::Duration};

use coreloop_config::Section;
use coreloop_db::{
    DbError, Options,
    lease::{Lease, Sweep},
};
use coreloop_idempotency::{Claim, Error, Keys, Scope};
use coreloop_testkit::{
    Fault, FaultProxy, TestDb, run,
    wait::{PATIENCE, wait_for},
    wait_until,
};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

/// The table as the crate's documentation gives it.
const TABLE: &str = "create schema auth;
create table auth.idempotency_keys (
    user_id    uuid        not null,
    rpc        text        not null,
    key        text        not null,
    body_hash  bytea       not null,
    answer     bytea,
    claimed_at timestamptz not null,
    expires_at timestamptz not null,
    constraint idempotency_keys_pkey primary key (user_id, rpc, key)
);
create index idempotency_keys_expires_at_idx on auth.idempotency_keys (expires_at);
create table auth.effects (id bigint generated always as identity);";

async fn database() -> (TestDb, PgPool) {
    let db = TestDb::copy_of("idempotency_1", |url| async move {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        connection.execute(TABLE).await.unwrap();
        connection.close().await.unwrap();
    })
    .await;
    let pool = PgPool::connect(&db.url()).await.unwrap();
    (db, pool)
}

fn scope(key: &str) -> Scope<'_> {
    Scope { user: Uuid::from_u128(7), rpc: "coreloop.auth.v1.AuthService/SignUp", key }
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// One call: claims, has its effect, answers.
async fn call(pool: &PgPool, keys: &Keys, key: &str, body: &[u8], at: Timestamp) -> Result<Vec<u8>, Error> {
    let mut tx = coreloop_db::begin(pool).await.unwrap();
    match keys.claim(&mut tx, &scope(key), body, at).await? {
        Claim::Replay(answer) => Ok(answer),
        Claim::First | Claim::Resumed => {
            sqlx::query("insert into auth.effects default values").execute(&mut *tx).await?;
            let answer = [b"answer to ", body].concat();
            keys.finish(&mut tx, &scope(key), &answer).await?;
            tx.commit().await.unwrap();
            Ok(answer)
        }
    }
}

#[test]
fn one_effect_of_one_key_and_the_same_answer_to_everybody() {
    run(async {
        let (db, pool) = database().await;
        let keys = Arc::new(Keys::new("auth").unwrap());
        let calls = join_all((0..40).map(|_| call(&pool, &keys, "k", b"body", now()))).await;
        assert!(calls.iter().any(Result::is_ok));
        for refused in calls.iter().filter_map(|call| call.as_ref().err()) {
            assert!(matches!(refused, Error::InProgress), "{refused}");
        }
        assert_eq!(call(&pool, &keys, "k", b"body", now()).await.unwrap(), b"answer to body");
        assert_eq!(db.count("select count(*) from auth.effects").await, 1);
        assert!(matches!(call(&pool, &keys, "k", b"other", now()).await, Err(Error::Reused)));
        assert!(matches!(call(&pool, &keys, "", b"body", now()).await, Err(Error::Key)));
        pool.close().await;
    });
}

#[test]
fn a_call_that_failed_leaves_its_key_free() {
    run(async {
        let (db, pool) = database().await;
        let keys = Keys::new("auth").unwrap();
        let mut failed = coreloop_db::begin(&pool).await.unwrap();
        assert_eq!(keys.claim(&mut failed, &scope("k"), b"body", now()).await.unwrap(), Claim::First);
        assert!(matches!(call(&pool, &keys, "k", b"body", now()).await, Err(Error::InProgress)));
        failed.rollback().await.unwrap();
        call(&pool, &keys, "k", b"body", now()).await.unwrap();
        assert_eq!(db.count("select count(*) from auth.effects").await, 1);
        pool.close().await;
    });
}

#[test]
fn keys_expire_and_unfinished_claims_are_taken_up() {
    run(async {
        let (db, pool) = database().await;
        let keys = Keys::new("auth").unwrap();
        call(&pool, &keys, "k", b"body", now()).await.unwrap();
        let tomorrow = now() + SignedDuration::from_hours(25);
        assert_eq!(call(&pool, &keys, "k", b"other", tomorrow).await.unwrap(), b"answer to other");

        let mut tx = coreloop_db::begin(&pool).await.unwrap();
        assert_eq!(keys.claim(&mut tx, &scope("long"), b"body", now()).await.unwrap(), Claim::First);
        tx.commit().await.unwrap();
        let claim = async |at: Timestamp| {
            let mut tx = coreloop_db::begin(&pool).await.unwrap();
            let claimed = keys.claim(&mut tx, &scope("long"), b"body", at).await;
            tx.rollback().await.unwrap();
            claimed
        };
        assert!(matches!(claim(now() + SignedDuration::from_secs(59)).await, Err(Error::InProgress)));
        assert_eq!(claim(now() + SignedDuration::from_secs(61)).await.unwrap(), Claim::Resumed);

        let mut connection = pool.acquire().await.unwrap();
        assert_eq!(keys.sweep(&mut connection, now() + SignedDuration::from_hours(24), 10).await.unwrap(), 1);
        assert_eq!(db.count("select count(*) from auth.idempotency_keys").await, 1);
        drop(connection);
        pool.close().await;
    });
}

/// Whoever gives up waiting for a transaction leaves none behind: what the next one writes on the connection lasts.
#[test]
fn a_transaction_given_up_while_it_begins_is_not_the_next_ones() {
    run(async {
        let (db, pool) = database().await;
        let proxy = FaultProxy::before(db.server()).await;
        let one = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
        let one = one.connect(&db.url_at(proxy.port())).await.unwrap();
        // Postgres hears of BEGIN after 20 ms, and whoever begins hears of that after 40.
        proxy.set(Fault::Delay(Duration::from_millis(20)));
        for (given_up, patience) in (0..60).step_by(3).enumerate() {
            wait_until("the connection is there", PATIENCE, async || one.num_idle() == 1).await;
            let begun = tokio::time::timeout(Duration::from_millis(patience), coreloop_db::begin(&one)).await;
            drop(begun);
            one.execute("insert into auth.effects default values").await.unwrap();
            let lasting: i64 = sqlx::query_scalar("select count(*) from auth.effects").fetch_one(&pool).await.unwrap();
            assert_eq!(usize::try_from(lasting).unwrap(), given_up + 1, "given up after {patience} ms");
        }
        one.close().await;
        pool.close().await;
    });
}

#[test]
fn a_lease_has_one_holder_and_passes_on_when_given_up() {
    run(async {
        let (_db, pool) = database().await;
        let mut first = Lease::try_take(&pool, "auth.test").await.unwrap().unwrap();
        assert!(first.held().await);
        assert!(Lease::try_take(&pool, "auth.test").await.unwrap().is_none());
        assert!(Lease::try_take(&pool, "auth.other").await.unwrap().is_some());
        first.give_up().await;
        assert!(Lease::try_take(&pool, "auth.test").await.unwrap().is_some());
        pool.close().await;
    });
}

#[test]
fn a_sweep_is_done_by_one_replica_and_known_to_be_done() {
    run(async {
        let (_db, pool) = database().await;
        let table =
            "create table auth.sweeps (name text constraint sweeps_pkey primary key, done_at timestamptz not null)";
        pool.execute(table).await.unwrap();
        let [sweep, other] = ["test", "other"].map(|name| Sweep { schema: "auth", name });
        let done = sweep.alone(&pool, async {
            let again = sweep.alone(&pool, async { Err(DbError::Deadline) }).await;
            assert!(matches!(again, Ok(false)), "{again:?}");
            assert!(sweep.is_due(&pool, now()).await?);
            sweep.done(&pool, now() + SignedDuration::from_secs(1)).await
        });
        assert!(done.await.unwrap());
        assert!(!sweep.is_due(&pool, now()).await.unwrap());
        assert!(sweep.is_due(&pool, now() + SignedDuration::from_secs(1)).await.unwrap(), "not since then");
        assert!(other.is_due(&pool, now()).await.unwrap());
        // What fails gives it up too.
        let failed = sweep.alone(&pool, async { Err(DbError::Deadline) }).await;
        assert!(matches!(failed, Err(DbError::Deadline)), "{failed:?}");
        assert!(sweep.alone(&pool, async { Ok::<_, DbError>(()) }).await.unwrap());
        pool.close().await;
    });
}

/// Its connection stays open, as that of a process that stands still.
#[test]
fn a_holder_that_says_nothing_loses_its_lease() {
    run(async {
        let (_db, pool) = database().await;
        let mut first = Lease::try_take(&pool, "auth.test").await.unwrap().unwrap();
        first.expire_after(Duration::from_millis(200)).await.unwrap();
        let second =
            wait_for("the second takes it", PATIENCE, async || Lease::try_take(&pool, "auth.test").await.unwrap())
                .await;
        assert!(!first.held().await);
        second.give_up().await;
        pool.close().await;
    });
}

#[test]
fn many_processes_make_one_role_and_migrate_once() {
    run(async {
        let (db, pool) = database().await;
        let url = db.url();
        sqlx::raw_sql("drop schema auth cascade").execute(&pool).await.unwrap();
        // The role is the cluster's and other tests' too, who give it the password of the address.
        let address: url::Url = url.parse().unwrap();
        let password = address.password().map(|password| format!("password = \"{password}\"")).unwrap_or_default();
        let text = format!("url = \"{url}\"\nadmin_url = \"{url}\"\n{password}");
        let options = Options::read(&Section::from_toml("database", &text).unwrap()).unwrap();
        let start = async || {
            let admin = options.admin_url.as_ref().unwrap();
            coreloop_db::bootstrap(admin, "auth", options.password.as_ref()).await.unwrap();
            coreloop_db::migrate(&options, "auth", &coreloop_auth::module::MIGRATIONS).await.unwrap();
        };
        db.undisturbed(join_all((0..6).map(|_| start()))).await;
        let applied = db.count("select count(*) from auth._migrations").await;
        assert_eq!(usize::try_from(applied).unwrap(), coreloop_auth::module::MIGRATIONS.iter().count());

        let service = coreloop_db::connect(&options, "auth").unwrap();
        let (role, path): (String, String) =
            sqlx::query_as("select current_user::text, current_setting('search_path')")
                .fetch_one(&service)
                .await
                .unwrap();
        assert_eq!((role.as_str(), path.as_str()), ("auth", "auth"));
        let duplicate =
            sqlx::query("insert into auth._migrations select * from auth._migrations").execute(&service).await;
        let violation = coreloop_db::violation(&duplicate.unwrap_err()).unwrap();
        assert_eq!(
            (violation.name.as_str(), violation.kind),
            ("_migrations_pkey", coreloop_db::ConstraintKind::Unique)
        );
        service.close().await;
        pool.close().await;
    });
}
