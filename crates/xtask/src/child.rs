//! Processes that xtask starts: each in a process group of its own, so that stopping it stops its children and
//! nothing else, and with its output in a log file.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt;

/// How often a wait looks again.
const POLL: Duration = Duration::from_millis(20);

/// A server that runs until it is stopped. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    child: Child,
    log: PathBuf,
    stop: Signal,
}

impl Server {
    /// Starts `command` with its output in `log`; `stop` is the signal that ends it in good order.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path, stop: Signal) -> Result<Self> {
        let out = fs::File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name} does not start ({})", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), stop })
    }

    /// Name, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until `ready`; fails at once, with the last lines of its log, when it dies before.
    pub(crate) fn wait_until(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            interrupt::check()?;
            if let Some(status) = self.ended()? {
                bail!("{}", self.obituary(status));
            }
            if ready() {
                return Ok(());
            }
            if start.elapsed() > limit {
                bail!("{} is not ready after {} s\n{}", self.name, limit.as_secs(), self.last_words());
            }
            thread::sleep(POLL);
        }
    }

    /// What to say when it ended by itself.
    pub(crate) fn obituary(&self, status: ExitStatus) -> String {
        format!("{} ended ({status})\n{}", self.name, self.last_words())
    }

    fn last_words(&self) -> String {
        let lines = tail(&self.log, 15).unwrap_or_default();
        let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
        format!("  last lines of {}:\n{}", self.log.display(), indented.trim_end())
    }

    /// Stops it: its signal, and SIGKILL to the whole group when it has not ended after `patience`.
    pub(crate) fn stop(&mut self, patience: Duration) -> Result<()> {
        let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return Ok(()) };
        let start = Instant::now();
        let mut asked = false;
        while self.child.try_wait()?.is_none() {
            if !asked {
                // To the leader's whole group: a server's own children end with it.
                let _ = kill_process_group(group, self.stop);
                asked = true;
            } else if start.elapsed() > patience {
                let _ = kill_process_group(group, Signal::KILL);
                self.child.wait()?;
                bail!("{} did not stop within {} s and was killed", self.name, patience.as_secs());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop(Duration::from_secs(10));
    }
}

/// Runs a command to its end; Ctrl-C ends it too. Its output is the caller's to redirect.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus> {
    interrupt::check()?;
    let program = command.get_program().display().to_string();
    let mut child =
        command.process_group(0).stdin(Stdio::null()).spawn().with_context(|| format!("{program} does not start"))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt::came() {
            group.map(|group| kill_process_group(group, Signal::TERM));
            child.wait()?;
            bail!("interrupted");
        }
        thread::sleep(POLL);
    }
}

/// Runs a command to its end with its output in `log`; a failure shows the last lines.
pub(crate) fn run_logged(what: &str, command: &mut Command, log: &Path) -> Result<()> {
    let out = fs::File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
    let status = run(command.stdout(out.try_clone()?).stderr(out))?;
    if !status.success() {
        let lines = tail(log, 15).unwrap_or_default();
        bail!("{what} failed ({status}); last lines of {}:\n{}", log.display(), lines.trim_end());
    }
    Ok(())
}

/// Output of a short command, trimmed; fails with its error output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("{program} does not start"))?;
    if !out.status.success() {
        bail!("{program} failed ({}): {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// The last `count` lines of a file, reading no more than its last 16 KiB.
pub(crate) fn tail(path: &Path, count: usize) -> Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(16 * 1024)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_dies_tells_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let mut server = Server::start("probe", &mut command, &log, Signal::TERM).unwrap();
        let error = server.wait_until(Duration::from_secs(20), || false).unwrap_err().to_string();
        assert!(error.contains("probe ended (exit status: 3)"), "{error}");
        assert!(error.contains("one") && error.contains("two"), "{error}");
        assert!(error.contains("x.log"), "{error}");
    }

    #[test]
    fn stopping_a_server_stops_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("sleep 600 & echo $! > {}.new; mv {0}.new {0}; wait", pid.display()));
        let mut server = Server::start("parent", &mut command, &dir.path().join("log"), Signal::TERM).unwrap();
        server.wait_until(Duration::from_secs(20), || pid.exists()).unwrap();
        let grandchild: i32 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        server.stop(Duration::from_secs(20)).unwrap();
        // The grandchild got the same signal; it is gone, or a zombie until init collects it.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            let stat = fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
            thread::yield_now();
        }
        panic!("the grandchild {grandchild} still runs");
    }

    #[test]
    fn tail_counts_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "1\n2\n3\n").unwrap();
        assert_eq!(tail(&path, 2).unwrap(), "2\n3");
        assert_eq!(tail(&path, 9).unwrap(), "1\n2\n3");
    }
}
