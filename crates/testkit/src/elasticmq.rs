//! An ElasticMQ, which speaks SQS: one for all tests that keep to names of their own.

use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{child::Child, port, runtime::sharing, surroundings, wait::wait_for};

/// It takes five seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(100);

static SHARED: OnceCell<TestSqs> = OnceCell::const_new();

/// A private ElasticMQ with the limits of SQS. Gone when dropped, or with the process.
#[derive(Debug)]
pub struct TestSqs {
    port: u16,
    _home: TempDir,
    _server: Child,
}

impl TestSqs {
    /// The one of this process, started when it is first asked for. Prefix your queues.
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
        let settings = format!(
            "include classpath(\"application.conf\")\n\
             node-address {{ protocol = http, host = \"127.0.0.1\", port = {port}, context-path = \"\" }}\n\
             rest-sqs {{ enabled = true, bind-port = {port}, bind-hostname = \"127.0.0.1\", sqs-limits = strict }}\n\
             rest-stats {{ enabled = false }}\n"
        );
        let file = home.path().join("elasticmq.conf");
        std::fs::write(&file, settings).expect("settings are written");
        let settings = format!("-Dconfig.file={}", file.display());
        let classes = format!("{}/*", surroundings::elasticmq_jars());
        let args = [
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            &settings,
            "-cp",
            &classes,
            "org.elasticmq.server.Main",
        ];
        let log = home.path().join("log");
        let args = args.map(str::to_owned);
        let mut server = Child::start("java", &args, std::fs::File::create(&log).expect("log file"));
        wait_for("elasticmq has started", PATIENCE, async || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(server.runs(), "elasticmq ended: {said}");
            said.contains("=== ElasticMQ server").then_some(())
        })
        .await;
        Self { port, _home: home, _server: server }
    }

    /// Its address.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
