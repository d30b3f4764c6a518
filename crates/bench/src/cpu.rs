//! CPU time of processes, from `/proc`. Steadier than requests a second on a shared machine.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// CPU time that every live thread of `pid` has used so far, at nanosecond resolution.
///
/// # Errors
/// When the process is gone.
pub(crate) fn of(pid: u32) -> Result<Duration> {
    let mut total = 0_u64;
    for task in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))? {
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        total += text.split_ascii_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// CPU time of several processes together.
///
/// # Errors
/// When one of them is gone.
pub(crate) fn of_all(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| of(*pid)).sum()
}

/// Proportional set size of `pid` in bytes: what it really costs, shared pages counted once.
///
/// # Errors
/// When the process is gone.
pub(crate) fn memory(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Pss:")).context("Pss")?;
    let kib: u64 = line.split_ascii_whitespace().nth(1).context("Pss")?.parse()?;
    Ok(kib * 1024)
}
