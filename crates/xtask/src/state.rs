//! What one `up` leaves for the next: ports, and the processes it started.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::place;

/// A process that was started; its start time tells it from a later one with the same pid.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Started {
    /// What it is.
    pub(crate) name: String,
    /// Process id, also of its group.
    pub(crate) pid: u32,
    /// Start time in clock ticks since boot.
    pub(crate) start: u64,
}

/// The remembered state, `.coreloop/state.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// Port of each part.
    pub(crate) ports: BTreeMap<String, u16>,
    /// What runs, or ran when xtask was killed.
    pub(crate) started: Vec<Started>,
    #[serde(skip)]
    path: PathBuf,
}

impl State {
    /// Reads what the last `up` left; nothing on the first.
    pub(crate) fn load(private: &Path) -> Result<Self> {
        let path = private.join("state.json");
        let mut state = match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| {
                format!("{} is not readable; delete it: ports are then chosen anew", path.display())
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
        };
        state.path = path;
        Ok(state)
    }

    /// Writes it.
    pub(crate) fn save(&self) -> Result<()> {
        place::write_secret(&self.path, &serde_json::to_string_pretty(self)?)
    }

    /// The port of a part: the remembered one, else the preferred one, else any free one. The note says why it is
    /// another than last time.
    pub(crate) fn port(&mut self, name: &str, preferred: u16) -> Result<(u16, Option<String>)> {
        self.port_among(name, preferred, free)
    }

    /// [`port`](Self::port) where `free` says which ports nobody listens on.
    fn port_among(&mut self, name: &str, preferred: u16, free: impl Fn(u16) -> bool) -> Result<(u16, Option<String>)> {
        let others: Vec<u16> = self.ports.iter().filter(|(n, _)| *n != name).map(|(_, port)| *port).collect();
        let usable = |port: u16| !others.contains(&port) && free(port);
        let remembered = self.ports.get(name).copied();
        if let Some(port) = remembered.filter(|port| usable(*port)) {
            return Ok((port, None));
        }
        let chosen = if usable(preferred) {
            preferred
        } else {
            any_free(&others).with_context(|| format!("no free port for {name}"))?
        };
        self.ports.insert(name.to_owned(), chosen);
        let note = remembered
            .map(|port| format!("port {port} of {name} is taken by {}; {name} moves to {chosen}", holder(port)));
        Ok((chosen, note))
    }

    /// Notes a process that was started.
    pub(crate) fn note(&mut self, name: &str, pid: u32) -> Result<()> {
        if let Some(start) = start_time(pid) {
            self.started.push(Started { name: name.to_owned(), pid, start });
        }
        self.save()
    }

    /// Stops what a killed `up` left running, and nothing else: pid and start time must both match.
    pub(crate) fn sweep(&mut self) -> Result<Vec<String>> {
        let mut swept = Vec::new();
        for left in self.started.drain(..).rev() {
            let alive = || start_time(left.pid) == Some(left.start);
            let Some(group) = i32::try_from(left.pid).ok().and_then(Pid::from_raw) else { continue };
            if !alive() {
                continue;
            }
            swept.push(format!("{} (pid {})", left.name, left.pid));
            let begin = Instant::now();
            // SIGINT is a fast, clean shutdown for every one of our servers.
            let _ = kill_process_group(group, Signal::INT);
            while alive() && begin.elapsed() < Duration::from_secs(10) {
                thread::sleep(Duration::from_millis(20));
            }
            if alive() {
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
        self.save()?;
        Ok(swept)
    }
}

/// Whether nothing listens on the port here. It is asked, not tried: a process that is started meanwhile would hold the socket
/// of a trial until it is its own program, and its server would find the port taken.
pub(crate) fn free(port: u16) -> bool {
    let refused = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), Duration::from_secs(1)).is_err_and(refused)
}

/// A free port outside `others`; each call of a process answers another one. They are below the range that outgoing
/// connections take theirs from, so that one found free stays free until its server has it, and while that starts again.
pub(crate) fn any_free(others: &[u16]) -> Option<u16> {
    const FIRST: u32 = 15_000;
    const COUNT: u32 = 16_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Far from where another process begins.
    let begin = std::process::id().wrapping_mul(64);
    let next = || FIRST + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
    (0..COUNT).filter_map(|_| u16::try_from(next()).ok()).find(|port| !others.contains(port) && free(*port))
}

/// Who listens on a port, as far as /proc tells us.
pub(crate) fn holder(port: u16) -> String {
    let unknown = || "another process".to_owned();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let suffix = format!(":{port:04X}");
    let inode = tables.iter().flat_map(|table| table.lines().skip(1)).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // local address, state 0A is listening, inode is the tenth field
        let listening = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == "0A";
        listening.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]"))).flatten()
    });
    let Some(inode) = inode else { return unknown() };
    let Ok(processes) = fs::read_dir("/proc") else { return unknown() };
    let numbered = processes.flatten().filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    for process in numbered {
        let Ok(handles) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = handles
            .flatten()
            .any(|handle| fs::read_link(handle.path()).is_ok_and(|target| target.as_os_str() == inode.as_str()));
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return format!("{} (pid {})", name.trim(), process.file_name().display());
        }
    }
    unknown()
}

/// Start time of a live process; none when it is gone or a zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; what follows the last bracket is regular.
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    let state = fields.next()?;
    if state == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    // A port that was free a moment ago is no ground to stand on here: a process that another test starts holds this
    // one's sockets until it becomes its own program.
    #[test]
    fn a_port_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::load(dir.path()).unwrap();
        assert_eq!(state.port_among("postgres", 5432, |_| true).unwrap(), (5432, None));
        state.save().unwrap();

        let mut state = State::load(dir.path()).unwrap();
        assert_eq!(state.port_among("postgres", 6000, |_| true).unwrap(), (5432, None));
        assert_eq!(state.port_among("redis", 6379, |port| port != 5432).unwrap(), (6379, None));
        assert_eq!(state.ports["postgres"], 5432);
    }

    #[test]
    fn a_part_moves_when_its_port_is_taken_and_says_by_whom() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::load(dir.path()).unwrap();
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = holder.local_addr().unwrap().port();
        state.port_among("postgres", taken, |_| true).unwrap();

        let (moved, note) = state.port("postgres", taken).unwrap();
        assert_ne!(moved, taken);
        assert_eq!(state.ports["postgres"], moved);
        let note = note.unwrap();
        assert!(note.contains(&taken.to_string()) && note.contains(&std::process::id().to_string()), "{note}");
    }

    #[test]
    fn two_parts_never_share_a_port() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::load(dir.path()).unwrap();
        let preferred = any_free(&[]).unwrap();
        let (a, _) = state.port("a", preferred).unwrap();
        let (b, _) = state.port("b", preferred).unwrap();
        assert_ne!(a, b);
    }

    #[test]
    fn sweep_spares_a_process_that_only_shares_the_pid() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::load(dir.path()).unwrap();
        let mut bystander = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        state.started.push(Started { name: "old".into(), pid: bystander.id(), start: 1 });
        assert!(state.sweep().unwrap().is_empty());
        assert!(bystander.try_wait().unwrap().is_none());
        bystander.kill().unwrap();
        bystander.wait().unwrap();
    }

    #[test]
    fn a_broken_state_file_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("state.json"), "{").unwrap();
        let error = State::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("state.json") && error.contains("delete it"), "{error}");
    }
}
