//! A private PostgreSQL: its own data folder, port and password, no sockets in shared places.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::{
    account::Account,
    child::{self, Server},
    packages::{self, PostgresPrograms},
    place,
};

/// Superuser of the private instance, and its database.
const OWNER: &str = "coreloop";

/// How a private instance is run.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// The checkout.
    pub(crate) root: &'a Path,
    /// Name of the data folder in `.coreloop`.
    pub(crate) name: &'a str,
    /// TCP port on 127.0.0.1.
    pub(crate) port: u16,
    /// Whether a commit must survive a crash; throw-away instances give that up for speed.
    pub(crate) durable: bool,
}

/// A running instance.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// URL of the superuser.
    pub(crate) url: String,
    /// What starts it again on its cluster: program and arguments.
    pub(crate) command: Vec<String>,
    /// The process.
    pub(crate) server: Server,
    /// Whether data of an earlier run was found.
    pub(crate) resumed: bool,
}

/// Starts it and waits until it answers; makes the cluster and the database when they are not there.
pub(crate) fn start(plan: &Plan<'_>) -> Result<Postgres> {
    let private = place::private(plan.root)?;
    let log = private.join("logs").join(format!("{}.log", plan.name));
    let broken = || {
        format!(
            "the private PostgreSQL in .coreloop/{} does not work; its log is {}\n`cargo xtask up --fresh` starts with empty data",
            plan.name,
            log.display()
        )
    };
    let account = Account::unprivileged("postgres")?;
    // The password file is written last, so that a cluster without one was never finished.
    let password_file = private.join(format!("{}.password", plan.name));
    let wanted = private.join(plan.name);
    if !password_file.exists() {
        place::drop_data(&wanted)?;
    }
    let resumed = password_file.exists() && wanted.exists();
    let data = place::data(plan.root, plan.name, &account)?;
    let major = account_reads(&account, &data.join("PG_VERSION")).and_then(|text| text.trim().parse().ok());
    if resumed && major.is_none() {
        bail!("{} is damaged (no PG_VERSION)\n{}", data.display(), broken());
    }
    let programs = packages::postgres(&private.join("logs"), major)?;
    if !resumed {
        let password = random_hex()?;
        init(&programs, &account, &data, &password, plan, &log)?;
        place::write_secret(&password_file, &password)?;
    }
    let password = fs::read_to_string(&password_file)?.trim().to_owned();
    let mut starting = command(&programs, &account, &data, plan);
    let words = std::iter::once(starting.get_program()).chain(starting.get_args());
    let command = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let mut server = Server::start("postgres", &mut starting, &log, Signal::INT).with_context(broken)?;
    server.wait_until(Duration::from_secs(60), || answers(&programs.bin, plan.port)).with_context(broken)?;
    ensure_database(&programs.bin, plan.port, &password).with_context(broken)?;
    Ok(Postgres {
        url: format!("postgres://{OWNER}:{password}@127.0.0.1:{}/{OWNER}", plan.port),
        command,
        server,
        resumed,
    })
}

fn init(
    programs: &PostgresPrograms,
    account: &Account,
    data: &Path,
    password: &str,
    plan: &Plan<'_>,
    log: &Path,
) -> Result<()> {
    // initdb reads the password as its own user, and wants the data folder empty: the file goes beside it for a moment.
    let pwfile = data.with_extension("pw");
    place::write_secret(&pwfile, password)?;
    account.give(&pwfile)?;
    let mut command = account.command(programs.bin.join("initdb"), "INT");
    command.args(["--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--no-instructions"]);
    command.arg("--username").arg(OWNER).arg("--pwfile").arg(&pwfile);
    if !plan.durable {
        command.arg("--no-sync");
    }
    command.arg("--pgdata").arg(data);
    let made = child::run_logged("initdb", &mut command, log);
    fs::remove_file(&pwfile)?;
    made
}

fn command(programs: &PostgresPrograms, account: &Account, data: &Path, plan: &Plan<'_>) -> Command {
    // Should xtask be killed, SIGINT is PostgreSQL's fast shutdown.
    let mut command = account.command(programs.bin.join("postgres"), "INT");
    command.arg("-D").arg(data).arg("-p").arg(plan.port.to_string());
    // Some tests at a time, each with some processes and their pools; a developer's instance has one of each.
    let threads = if plan.durable { 1 } else { crate::test::threads() };
    let connections = format!("max_connections={}", 400 + 300 * threads.max(2));
    let mut settings = vec![
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        connections.as_str(),
        "shared_buffers=128MB",
        "timezone=UTC",
        "log_timezone=UTC",
        "logging_collector=off",
        "log_destination=stderr",
    ];
    if !plan.durable {
        settings.extend([
            "wal_level=logical",
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "autovacuum_naptime=10min",
        ]);
    }
    for setting in settings {
        command.arg("-c").arg(setting);
    }
    command
}

fn answers(bin: &Path, port: u16) -> bool {
    Command::new(bin.join("pg_isready"))
        .args(["-q", "-h", "127.0.0.1", "-d", "postgres", "-p", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn ensure_database(bin: &Path, port: u16, password: &str) -> Result<()> {
    let psql = |sql: &str| {
        let mut command = Command::new(bin.join("psql"));
        command.env("PGPASSWORD", password).args(["-X", "-A", "-t", "-q", "-h", "127.0.0.1", "-U", OWNER]);
        command.args(["-p", &port.to_string(), "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        child::output(&mut command)
    };
    if psql(&format!("select 1 from pg_database where datname = '{OWNER}'"))?.is_empty() {
        psql(&format!("create database {OWNER}"))?;
    }
    Ok(())
}

fn account_reads(account: &Account, path: &Path) -> Option<String> {
    child::output(account.command("cat", "clear").arg(path)).ok()
}

/// 32 random hexadecimal digits.
pub(crate) fn random_hex() -> Result<String> {
    use std::io::Read as _;
    let mut bytes = [0_u8; 16];
    fs::File::open(PathBuf::from("/dev/urandom"))?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;

    /// One cluster for the whole story: made, stopped, resumed with its data, broken.
    #[test]
    fn a_cluster_is_made_resumed_and_reported_when_broken() {
        let root = tempfile::tempdir().unwrap();
        let port = state::any_free(&[]).unwrap();
        let plan = Plan { root: root.path(), name: "pg", port, durable: false };
        let mut first = start(&plan).unwrap();
        assert!(!first.resumed);
        let sql = |url: &str, sql: &str| {
            let bin = packages::postgres(root.path(), None).unwrap().bin;
            child::output(Command::new(bin.join("psql")).args(["-X", "-A", "-t", "-q", "-d", url, "-c", sql])).unwrap()
        };
        sql(&first.url, "create table kept (n int); insert into kept values (7)");
        first.server.stop(Duration::from_secs(30)).unwrap();

        let mut second = start(&plan).unwrap();
        assert!(second.resumed);
        assert_eq!(sql(&second.url, "select n from kept"), "7");
        second.server.stop(Duration::from_secs(30)).unwrap();

        let data = root.path().join(".coreloop/pg").canonicalize().unwrap();
        fs::remove_file(data.join("global/pg_control")).unwrap();
        let error = format!("{:#}", start(&plan).unwrap_err());
        assert!(error.contains("logs/pg.log") && error.contains("--fresh"), "{error}");
        assert!(error.contains("pg_control"), "{error}");
        place::drop_data(&root.path().join(".coreloop/pg")).unwrap();
    }
}
