//! CPU time of processes, from `/proc`. Steadier than requests a second on a shared machine.

use std::{collections::HashMap, fs, time::Duration};

use anyhow::{Context as _, Result};

/// CPU time from one moment on.
#[derive(Debug)]
pub(crate) struct Turn {
    processes: Vec<(u32, Threads)>,
}

/// Nanoseconds that each live thread has used, by its id.
type Threads = HashMap<String, u64>;

impl Turn {
    /// From now, of these processes together.
    ///
    /// # Errors
    /// When one of them is gone.
    pub(crate) fn of(pids: &[u32]) -> Result<Self> {
        let processes = pids.iter().map(|pid| Ok((*pid, threads(*pid)?))).collect::<Result<_>>()?;
        Ok(Self { processes })
    }

    /// From now, of this process.
    ///
    /// # Errors
    /// As [`Turn::of`].
    pub(crate) fn mine() -> Result<Self> {
        Self::of(&[std::process::id()])
    }

    /// What was used till now, at nanosecond resolution. What a thread used that ended since is not seen, so the figure is
    /// a sum over threads and not a difference of sums, which could be negative.
    ///
    /// # Errors
    /// When a process is gone.
    pub(crate) fn spent(&self) -> Result<Duration> {
        let mut total = 0;
        for (pid, before) in &self.processes {
            for (thread, now) in threads(*pid)? {
                total += now.saturating_sub(before.get(&thread).copied().unwrap_or(0));
            }
        }
        Ok(Duration::from_nanos(total))
    }

    /// Microseconds a call, `calls` having been made.
    ///
    /// # Errors
    /// As [`Turn::spent`].
    pub(crate) fn each(&self, calls: u64) -> Result<f64> {
        Ok(self.spent()?.as_secs_f64() * 1e6 / calls as f64)
    }
}

fn threads(pid: u32) -> Result<Threads> {
    let mut used = Threads::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))? {
        let task = task?;
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        let nanos = text.split_ascii_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
        used.insert(task.file_name().to_string_lossy().into_owned(), nanos);
    }
    Ok(used)
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
