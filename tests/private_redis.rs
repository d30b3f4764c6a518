//! A Redis of one test's own, for the crates below the test kit: `#[path]` brings it into their tests.
//!
//! It is reached by a socket in its folder. A port that was free a moment ago may be another test's by now, who would share
//! the server and not know.

#![allow(dead_code, reason = "whoever brings it in uses some of it")]

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Two cores run every test at once.
const LONG: Duration = Duration::from_secs(30);

/// A Redis that ends with the test, and its data with it.
pub(crate) struct Redis {
    home: TempDir,
    process: Child,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        let home = TempDir::new().unwrap();
        let mut redis = Self { process: serve(&home), home };
        redis.ready().await;
        redis
    }

    /// Kills it and starts it again with what it saved.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        self.process = serve(&self.home);
        self.ready().await;
    }

    /// Keeps on disk what it holds; nothing else does.
    pub(crate) async fn save(&self) {
        let () = redis::cmd("SAVE").query_async(&mut self.connect().await).await.unwrap();
    }

    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(format!("redis+unix://{}", self.home.path().join("socket").display())).unwrap()
    }

    pub(crate) async fn connect(&self) -> MultiplexedConnection {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(LONG)).set_response_timeout(Some(LONG));
        self.client().get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }

    /// `STOP` freezes it: connections stay open, nothing is answered.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    pub(crate) fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits until it says that it takes connections, which is after it has read what it saved.
    async fn ready(&mut self) {
        let log = BufReader::new(self.process.stdout.take().unwrap());
        let said = move || log.lines().map_while(Result::ok).any(|line| line.contains("eady to accept connections"));
        let ready = tokio::time::timeout(LONG, tokio::task::spawn_blocking(said)).await;
        assert!(ready.expect("redis is not ready in time").unwrap(), "redis ended");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serve(home: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--dir"])
        .arg(home.path())
        .arg("--unixsocket")
        .arg(home.path().join("socket"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
