//! An Apicurio Registry, which speaks the API of Confluent's Schema Registry: one for all tests that keep to subjects of their own.

use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{child::Child, port, runtime::sharing, surroundings, wait::wait_for};

/// It takes ten seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(100);

static SHARED: OnceCell<TestRegistry> = OnceCell::const_new();

/// A private Apicurio Registry, in memory. Gone when dropped, or with the process.
#[derive(Debug)]
pub struct TestRegistry {
    port: u16,
    _home: TempDir,
    _server: Child,
}

impl TestRegistry {
    /// The one of this process, started when it is first asked for.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(|| sharing(Self::start())).await
    }

    /// One of the test's own.
    ///
    /// # Panics
    /// When it does not start; the panic carries its log.
    pub async fn start() -> Self {
        let home = TempDir::new().expect("temporary folder");
        let port = port::free();
        let args = [
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Dquarkus.http.host=127.0.0.1",
            &format!("-Dquarkus.http.port={port}"),
            &format!("-Djava.io.tmpdir={}", home.path().display()),
            "-jar",
            &surroundings::registry_jar(),
        ];
        let log = home.path().join("log");
        let args = args.map(str::to_owned);
        let mut server = Child::start("java", &args, std::fs::File::create(&log).expect("log file"));
        wait_for("the registry has started", PATIENCE, async || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(server.runs(), "the registry ended: {said}");
            said.contains("Listening on:").then_some(())
        })
        .await;
        Self { port, _home: home, _server: server }
    }

    /// Its address without scheme, to put a proxy before it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Address of the API of Confluent's registry, at `host` (`host:port`), which is its own or a proxy's.
    #[must_use]
    pub fn url(host: &str) -> String {
        format!("http://{host}/apis/ccompat/v7")
    }
}
