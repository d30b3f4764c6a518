//! A database of one test's own, copied from a template that is migrated once per state of the migrations.

use std::{
    collections::HashSet,
    future::Future,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use sqlx::{Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions};

use crate::{runtime, surroundings};

/// Makers of databases take turns, also across test processes (advisory lock of the maintenance database).
const LOCK: i64 = 0x636f_7265_6c6f_6f70;

static MADE: tokio::sync::Mutex<Option<HashSet<String>>> = tokio::sync::Mutex::const_new(None);
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A database of one test's own. Dropped with the value, unless the test fails: then it is kept and its address printed.
#[derive(Debug)]
pub struct TestDb {
    name: String,
    server: url::Url,
    /// Connections that questions were asked on, for the next ones: tests ask again and again until something is so.
    asked_on: Mutex<Vec<PgConnection>>,
}

impl TestDb {
    /// Copies the template of `state` (a hash of the migrations), which `migrate` fills when there is none yet; it is
    /// given the address of the empty template.
    ///
    /// # Panics
    /// When Postgres is away or a migration fails.
    pub async fn copy_of<Fut>(state: &str, migrate: impl FnOnce(String) -> Fut) -> Self
    where
        Fut: Future<Output = ()>,
    {
        let server: url::Url = surroundings::database_url().parse().expect("CORELOOP_TEST_DATABASE_URL is an address");
        let template = format!("template_{state}");
        let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut made = MADE.lock().await;
        let mut admin = admin(&server).await;
        lock(&mut admin).await;
        if made.is_none() {
            sweep(&mut admin).await;
        }
        let made = made.get_or_insert_with(HashSet::new);
        if !made.contains(&template) {
            ensure(&mut admin, &server, &template, migrate).await;
            made.insert(template.clone());
        }
        run(&mut admin, &format!("create database {name} template {template}")).await;
        let _ = admin.close().await;
        Self { name, server, asked_on: Mutex::default() }
    }

    /// Runs `work` while nobody makes a database: roles are the cluster's, and a new template gives its own their passwords.
    pub async fn undisturbed<T>(&self, work: impl Future<Output = T>) -> T {
        let mut admin = admin(&self.server).await;
        lock(&mut admin).await;
        let done = work.await;
        let _ = admin.close().await;
        done
    }

    /// Its address, with the superuser's name.
    #[must_use]
    pub fn url(&self) -> String {
        address(&self.server, &self.name)
    }

    /// Host and port of the server, to put a proxy before it.
    #[must_use]
    pub fn server(&self) -> String {
        format!("{}:{}", self.server.host_str().unwrap_or("127.0.0.1"), self.server.port().unwrap_or(5432))
    }

    /// Its address through a proxy that listens at `port`.
    #[must_use]
    pub fn url_at(&self, port: u16) -> String {
        let mut url: url::Url = self.url().parse().expect("an address");
        url.set_host(Some("127.0.0.1")).expect("a host");
        url.set_port(Some(port)).expect("a port");
        url.into()
    }

    /// A connection of the test's own, as superuser, to look at the data.
    pub async fn connect(&self) -> PgConnection {
        let options: PgConnectOptions = self.url().parse().expect("an address");
        PgConnection::connect_with(&options).await.expect("the test database answers")
    }

    /// One number by SQL, as `select count(*) from auth.users`.
    pub async fn count(&self, sql: &str) -> i64 {
        let mut connection = self.asking().await;
        // What is not kept is planned for the tables as they are.
        let answer = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).persistent(false).fetch_one(&mut connection).await;
        self.asked(connection);
        answer.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// Runs SQL, as the arrangement of a test: what it sets for its session may be there for the next.
    pub async fn execute(&self, sql: &str) {
        let mut connection = self.asking().await;
        run(&mut connection, sql).await;
        self.asked(connection);
    }

    /// A connection that answers.
    async fn asking(&self) -> PgConnection {
        loop {
            let kept = self.kept().pop();
            let Some(mut kept) = kept else { return self.connect().await };
            // It may have been cut off with others, by a test that does so.
            if kept.ping().await.is_ok() {
                return kept;
            }
        }
    }

    fn asked(&self, connection: PgConnection) {
        self.kept().push(connection);
    }

    fn kept(&self) -> MutexGuard<'_, Vec<PgConnection>> {
        self.asked_on.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let url = self.url();
            #[allow(clippy::print_stderr, reason = "tells the person who reads the failure where the data is")]
            {
                eprintln!("the database of the failed test is kept: {url}");
            }
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        // After whichever test ends next, which is not to fail for it: the next run drops what is left.
        runtime::later(async move {
            if let Err(error) = dropped(&server, &name).await {
                tracing::warn!(%error, name, "a test's database was not dropped");
            }
        });
    }
}

async fn dropped(server: &url::Url, name: &str) -> Result<(), sqlx::Error> {
    let mut admin = PgConnection::connect(&address(server, "postgres")).await?;
    let drop = format!("drop database if exists {name} with (force)");
    admin.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(drop))).await?;
    admin.close().await
}

async fn admin(server: &url::Url) -> PgConnection {
    let options: PgConnectOptions = address(server, "postgres").parse().expect("an address");
    PgConnection::connect_with(&options).await.unwrap_or_else(|error| panic!("Postgres does not answer: {error}"))
}

async fn lock(admin: &mut PgConnection) {
    sqlx::query("select pg_advisory_lock($1)").bind(LOCK).execute(admin).await.expect("the lock");
}

fn address(server: &url::Url, database: &str) -> String {
    let mut url = server.clone();
    url.set_path(database);
    url.into()
}

async fn run(connection: &mut PgConnection, sql: &str) {
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Migrates beside and renames when done, so a half-made template is never copied.
async fn ensure<Fut>(admin: &mut PgConnection, server: &url::Url, template: &str, migrate: impl FnOnce(String) -> Fut)
where
    Fut: Future<Output = ()>,
{
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(template)
        .fetch_one(&mut *admin)
        .await
        .expect("the catalogue");
    if exists {
        return;
    }
    let making = format!("{template}_making");
    run(admin, &format!("drop database if exists {making} with (force)")).await;
    run(admin, &format!("create database {making} template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C'"))
        .await;
    migrate(address(server, &making)).await;
    // The pools of the migration may still be closing.
    let hang_up = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{making}'");
    run(admin, &hang_up).await;
    run(admin, &format!("alter database {making} rename to {template}")).await;
}

/// Drops what test processes that were killed have left (a failed test's database lives until the next run).
async fn sweep(admin: &mut PgConnection) {
    let names: Vec<String> = sqlx::query_scalar("select datname::text from pg_database where datname like 'test\\_%'")
        .fetch_all(&mut *admin)
        .await
        .expect("the catalogue");
    for name in names {
        let alive = name.split('_').nth(1).is_some_and(|pid| std::path::Path::new("/proc").join(pid).exists());
        if !alive {
            run(admin, &format!("drop database if exists {name} with (force)")).await;
        }
    }
}
