//! A private Redis with an append-only file.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::{account::Account, child::Server, packages, place};

/// A running instance.
#[derive(Debug)]
pub(crate) struct Redis {
    /// URL.
    pub(crate) url: String,
    /// The process.
    pub(crate) server: Server,
    /// Whether data of an earlier run was found.
    pub(crate) resumed: bool,
}

/// Starts it and waits until it answers. `durable` keeps an append-only file.
pub(crate) fn start(root: &Path, name: &str, port: u16, durable: bool) -> Result<Redis> {
    let private = place::private(root)?;
    let log = private.join("logs").join(format!("{name}.log"));
    let program = packages::redis(&private.join("logs"))?;
    let account = Account::unprivileged("redis")?;
    let resumed = private.join(name).exists();
    let data = place::data(root, name, &account)?;
    let mut command = account.command(program, "TERM");
    command.args(["--bind", "127.0.0.1", "--protected-mode", "yes", "--daemonize", "no", "--save", ""]);
    command.args(["--port", &port.to_string(), "--appendonly", if durable { "yes" } else { "no" }]);
    command.arg("--dir").arg(&data);
    let broken = || {
        format!(
            "the private Redis in .coreloop/{name} does not work; its log is {}\n`cargo xtask up --fresh` starts with empty data",
            log.display()
        )
    };
    let mut server = Server::start("redis", &mut command, &log, Signal::TERM).with_context(broken)?;
    server.wait_until(Duration::from_secs(30), || answers(port)).with_context(broken)?;
    Ok(Redis { url: format!("redis://127.0.0.1:{port}"), server, resumed })
}

/// Whether Redis answers, its data loaded.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let limit = Duration::from_secs(1);
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0_u8; 7];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+PONG\r\n")
    };
    ask().unwrap_or(false)
}

/// Removes what an instance kept.
pub(crate) fn forget(root: &Path, name: &str) -> Result<()> {
    let private = place::private(root)?;
    place::drop_data(&private.join(name))?;
    let _ = fs::remove_file(private.join("logs").join(format!("{name}.log")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;

    fn say(port: u16, line: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(format!("{line}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn what_redis_was_told_is_there_after_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let port = state::any_free(&[]).unwrap();
        let mut first = start(root.path(), "redis", port, true).unwrap();
        assert!(!first.resumed);
        assert!(say(port, "SET kept 7").starts_with("+OK"));
        first.server.stop(Duration::from_secs(20)).unwrap();
        let mut second = start(root.path(), "redis", port, true).unwrap();
        assert!(second.resumed);
        assert!(say(port, "GET kept").starts_with("$1\r\n7"));
        second.server.stop(Duration::from_secs(20)).unwrap();
        forget(root.path(), "redis").unwrap();
        assert!(!root.path().join(".coreloop/redis").exists());
    }
}
