//! A Redis of one test's own, to be killed, emptied and frozen at will.

use std::{net::TcpStream, time::Duration};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{child::Child, port, wait::wait_for};

/// A private Redis server. Gone when dropped.
#[derive(Debug)]
pub struct TestRedis {
    port: u16,
    home: TempDir,
    server: Option<Child>,
}

impl TestRedis {
    /// Starts one that keeps nothing on disk.
    pub async fn start() -> Self {
        let mut redis = Self { port: port::free(), home: TempDir::new().expect("temporary folder"), server: None };
        redis.resurrect().await;
        redis
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its address without the scheme, to put a proxy before it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it; what it held is lost.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts it again on the same port, empty.
    pub async fn resurrect(&mut self) {
        let args = format!("--port {} --bind 127.0.0.1 --daemonize no --save  --appendonly no --dir", self.port);
        let mut args: Vec<String> = args.split(' ').map(str::to_owned).collect();
        args.push(self.home.path().display().to_string());
        let log = std::fs::File::create(self.home.path().join("log")).expect("log file");
        self.server = Some(Child::start("redis-server", &args, log));
        let port = self.port;
        wait_for("redis accepts connections", Duration::from_secs(10), async || {
            TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())
        })
        .await;
    }

    /// Freezes it: connections stay open, nothing is answered.
    pub fn freeze(&self) {
        self.server.as_ref().expect("redis runs").signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.server.as_ref().expect("redis runs").signal(Signal::CONT);
    }

    /// A connection of the test's own.
    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("address");
        client.get_multiplexed_async_connection().await.expect("redis answers")
    }

    /// Empties it.
    pub async fn flush(&self) {
        let mut connection = self.connect().await;
        let () = redis::cmd("FLUSHALL").query_async(&mut connection).await.expect("redis empties");
    }
}
