//! A Postgres that can be killed as a machine is: all its processes at once, what they had not written with them.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use coreloop_testkit::{child::Child, wait::wait_for};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, Executor as _, PgConnection};

/// A database that starts or recovers has so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The private server.
#[derive(Debug)]
pub(crate) struct Postgres {
    command: Vec<String>,
    /// Address of the superuser, with the database `coreloop`.
    pub(crate) url: String,
    log: PathBuf,
    server: Option<Child>,
}

impl Postgres {
    /// Starts it by `command`, a program and its arguments; its cluster is made.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn start(command: Vec<String>, url: String, log: PathBuf) -> Result<Self> {
        let mut postgres = Self { command, url, log, server: None };
        postgres.resurrect().await?;
        Ok(postgres)
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        let host = self.url.rsplit_once('@').map_or(self.url.as_str(), |(_, rest)| rest);
        host.split_once('/').map_or(host, |(host, _)| host)
    }

    /// The superuser's address of a database, at `address`.
    pub(crate) fn url_of(&self, address: &str, database: &str) -> String {
        let (who, _) = self.url.rsplit_once('@').unwrap_or((self.url.as_str(), ""));
        format!("{who}@{address}/{database}")
    }

    /// A connection of the superuser.
    pub(crate) async fn connect(&self, database: &str) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.url_of(self.address(), database)).await?)
    }

    /// Runs statements.
    pub(crate) async fn execute(&self, database: &str, sql: &str) -> Result<()> {
        let mut connection = self.connect(database).await?;
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await.context("arranging the database")?;
        Ok(connection.close().await?)
    }

    /// Kills every process of it. The first is stopped before, so that it neither mends nor writes anything on its way out.
    pub(crate) fn crash(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let parent = server.pid();
        server.signal(Signal::STOP);
        for child in children_of(parent) {
            let _gone_already = kill_process(child, Signal::KILL);
        }
        server.kill();
    }

    /// Starts it again and waits until it answers. Its shared memory is let go of when the last of its old processes has ended,
    /// so a start may have to be repeated.
    ///
    /// # Errors
    /// When it does not come.
    pub(crate) async fn resurrect(&mut self) -> Result<()> {
        let (program, arguments) = self.command.split_first().context("no command for Postgres")?;
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut server = Child::start(program, arguments, log.try_clone()?);
        let url = self.url.clone();
        wait_for("Postgres answers", PATIENCE, async || {
            if !server.runs() {
                server = Child::start(program, arguments, log.try_clone().ok()?);
            }
            let connection = PgConnection::connect(&url).await.ok()?;
            connection.close().await.ok()
        })
        .await;
        self.server = Some(server);
        Ok(())
    }
}

fn children_of(parent: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name in brackets: state, then the parent.
        let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
        after.split(' ').nth(1).and_then(|number| number.parse().ok()) == Some(parent.as_raw_nonzero().get())
    })
    .filter_map(Pid::from_raw)
    .collect()
}
