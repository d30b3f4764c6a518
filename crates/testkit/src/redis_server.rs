//! A Redis of one test's own, to be killed, emptied and frozen at will.

use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    child::Child,
    port,
    wait::{PATIENCE, wait_for},
};

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

    /// Kills it; what it held and did not save is lost.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts it again on the same port, with what it saved.
    ///
    /// # Panics
    /// When it does not come; the panic carries its log.
    pub async fn resurrect(&mut self) {
        let args = format!("--port {} --bind 127.0.0.1 --daemonize no --save  --appendonly no --dir", self.port);
        let mut args: Vec<String> = args.split(' ').map(str::to_owned).collect();
        args.push(self.home.path().display().to_string());
        let log = self.home.path().join("log");
        let mut server = Child::start("redis-server", &args, std::fs::File::create(&log).expect("log file"));
        let client = redis::Client::open(self.url()).expect("address");
        wait_for("redis answers", PATIENCE, async || {
            // Whoever else answers at this port is not ours.
            assert!(server.runs(), "redis ended: {}", std::fs::read_to_string(&log).unwrap_or_default());
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            // Not while it reads what it saved.
            redis::cmd("PING").query_async::<String>(&mut connection).await.ok().map(drop)
        })
        .await;
        self.server = Some(server);
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
    pub async fn connect(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("address");
        let patient =
            AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        client.get_multiplexed_async_connection_with_config(&patient).await.expect("redis answers")
    }

    /// Empties it.
    pub async fn flush(&self) {
        let mut connection = self.connect().await;
        let () = redis::cmd("FLUSHALL").query_async(&mut connection).await.expect("redis empties");
    }
}
