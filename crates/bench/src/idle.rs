//! P17: what a socket on which nothing happens takes, and ten thousand of them held past the time after which a silent one is closed.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    cpu,
    report::Row,
    sockets::{EACH, Mesh},
};

/// Sockets, of users who have as many as they may.
const SOCKETS: usize = 10_000;
const PEOPLE: usize = SOCKETS / EACH;
/// People who were there before, so that what the process makes once is made.
const BEFORE: usize = 4;
/// Longer than a socket may be silent (`gateway.sockets.idle_secs`): those that are left have answered pings.
const HELD: Duration = Duration::from_secs(100);
/// Files that a process needs beside its sockets.
const OTHERS: usize = 500;

/// Both rows.
///
/// # Errors
/// When a socket is refused, ends, or hears nothing.
pub(crate) async fn rows() -> Result<Vec<Row>> {
    enough_files()?;
    let mesh = Mesh::start(BEFORE + PEOPLE, 200).await?;
    let pid = mesh.part.pid();
    let mut early = mesh.open(0..BEFORE).await?;
    let heard = early.will_hear(early.len() as u64);
    mesh.say(0..BEFORE, 1, 0).await?;
    heard.await?;
    early.hang_up().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = cpu::memory(pid)?;
    let begun = Instant::now();
    let people = BEFORE..BEFORE + PEOPLE;
    let mut crowd = mesh.open(people.clone()).await?;
    let rate = SOCKETS as f64 / begun.elapsed().as_secs_f64();
    anyhow::ensure!(crowd.len() == SOCKETS, "{} sockets are open", crowd.len());
    tokio::time::sleep(HELD).await;
    anyhow::ensure!(crowd.ended() == 0, "{} of {SOCKETS} idle sockets ended", crowd.ended());
    let after = cpu::memory(pid)?;
    // Each is there, and not only its connection.
    let heard = crowd.will_hear(SOCKETS as u64);
    mesh.say(people, 1, 0).await?;
    heard.await?;
    crowd.hang_up().await;
    let each = after.saturating_sub(before) as f64 / SOCKETS as f64 / 1024.0;
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    Ok(vec![
        Row {
            id: "P17",
            what: format!("an idle socket of {SOCKETS}, memory of the process"),
            measured: format!("{each:.1} KiB"),
            aim: "≤ 8 KiB",
            met: each <= 8.0,
            detail: format!(
                "PSS {:.1} to {:.1} MiB with what the gateway, the stream behind it and realtime keep of it",
                mib(before),
                mib(after)
            ),
        },
        Row {
            id: "P17",
            what: format!("idle sockets held for {} s, each of which then hears a message", HELD.as_secs()),
            measured: SOCKETS.to_string(),
            aim: "10000",
            met: true,
            detail: format!("none ended; opened at {rate:.0} a second"),
        },
    ])
}

/// Both ends of the sockets need a file each, in two processes that have the same limit.
fn enough_files() -> Result<()> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("Max open files")?;
    let soft = line.split_ascii_whitespace().nth(3).context("a limit")?;
    let few = soft.parse::<usize>().is_ok_and(|soft| soft < SOCKETS + OTHERS);
    anyhow::ensure!(!few, "{SOCKETS} sockets need more open files than {soft}: raise `ulimit -n`");
    Ok(())
}
