//! P18: how soon a process is ready and what it takes when idle. The real binary, with the databases up.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    child::Part,
    cpu,
    report::{Row, median, spread},
};

/// What is started, MiB that it may take, the aim, and the peers that it wants to know.
const TARGETS: &[(&str, f64, &str, &[&str])] = &[
    ("all", 81.0, "≤ 81 MiB, ≤ 60 ms", &[]),
    ("auth", 10.0, "≤ 10 MiB, ≤ 60 ms", &[]),
    ("edge", 10.0, "≤ 10 MiB, ≤ 60 ms", &["AUTH"]),
    ("image", 10.0, "≤ 10 MiB, ≤ 60 ms", &["AUTH"]),
    ("scan", 10.0, "≤ 10 MiB, ≤ 60 ms", &["AUTH", "IMAGE"]),
    ("character", 10.0, "≤ 10 MiB, ≤ 60 ms", &["AUTH"]),
    ("my", 10.0, "≤ 10 MiB, ≤ 60 ms", &["AUTH", "CHARACTER", "IMAGE"]),
    ("location", 10.0, "≤ 10 MiB, ≤ 60 ms", &["AUTH"]),
    ("notification", 10.0, "≤ 10 MiB, ≤ 60 ms", &["AUTH"]),
    ("realtime", 10.0, "≤ 10 MiB, ≤ 60 ms", &["AUTH"]),
];

/// P18 for each target.
///
/// # Errors
/// When the binary does not start.
#[expect(clippy::too_many_lines, reason = "one measurement from begin to end, a line longer than a function may be")]
pub(crate) fn rows(rounds: usize, database: &str, redis: &str) -> Result<Vec<Row>> {
    let binary = std::env::current_exe()?.with_file_name("coreloop");
    let folder = std::env::temp_dir().join(format!("coreloop-footprint-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let name = format!("bench_{}", std::process::id());
    let server = database.rsplit_once('/').map_or(database, |(server, _)| server);
    let own = format!("{server}/{name}");
    make(database, &name)?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let start = |target: &str, peers: &[&str]| -> Result<(Part, f64)> {
        let ready = folder.join(format!("{target}.json"));
        let _ = std::fs::remove_file(&ready);
        let mut command = Command::new(&binary);
        command.arg("serve").arg(target).arg("--ready-file").arg(&ready);
        // What surrounds the tests is no setting of the product.
        for name in ["CORELOOP_TEST_DATABASE_URL", "CORELOOP_TEST_REDIS_URL", "CORELOOP_TEST_ENVOY"] {
            command.env_remove(name);
        }
        command
            .env("CORELOOP_MODE", "local")
            .env("CORELOOP_DATABASE__URL", &own)
            .env("CORELOOP_DATABASE__ADMIN_URL", &own)
            .env("CORELOOP_REDIS__URL", redis)
            .env("CORELOOP_AUTH__DATA_DIR", &folder)
            .env("CORELOOP_LOG__FILTER", "warn");
        if target == "auth" {
            command.env("CORELOOP_SERVER__PORTS__AUTH", port.to_string());
        }
        // Auth is all that is there: the other peers are wanted by name and called by nobody who is idle.
        for peer in peers {
            command.env(format!("CORELOOP_PEERS__{peer}"), format!("http://127.0.0.1:{port}"));
        }
        let begun = Instant::now();
        let child = command.stdout(Stdio::null()).spawn().with_context(|| binary.display().to_string())?;
        let part = Part::adopt(child, String::new());
        while !ready.exists() {
            anyhow::ensure!(begun.elapsed() < Duration::from_secs(30), "{target} is not ready after 30 s");
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok((part, begun.elapsed().as_secs_f64() * 1e3))
    };
    let mut rows = Vec::new();
    for (target, most, aim, peers) in TARGETS.iter().copied() {
        let (mut took, mut memory) = (Vec::new(), Vec::new());
        // Whoever has peers is ready once auth tells it the keys.
        let _peer = if peers.is_empty() { None } else { Some(start("auth", &[])?) };
        for round in 0..=rounds {
            let (part, ready) = start(target, peers)?;
            std::thread::sleep(Duration::from_millis(1_500));
            if round > 0 {
                took.push(ready);
                memory.push(cpu::memory(part.pid())? as f64 / 1_048_576.0);
            }
        }
        let (ready, size) = (median(&took), median(&memory));
        rows.push(Row {
            id: "P18",
            what: format!("serve {target}: idle memory, ready after exec"),
            measured: format!("{size:.1} MiB, {ready:.0} ms"),
            aim,
            met: size <= most && ready <= 60.0,
            detail: format!("PSS 1.5 s after ready; ready {}", spread(&took)),
        });
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(rows)
}

/// The rows start on an empty database of their own, as a first start finds it.
fn make(server: &str, name: &str) -> Result<()> {
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
    tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(async {
            let mut connection = sqlx::PgConnection::connect(server).await?;
            connection.execute(AssertSqlSafe(format!("create database {name}"))).await?;
            connection.close().await?;
            Ok(())
        })
    })
}
