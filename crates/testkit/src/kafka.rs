//! A Kafka broker: one for all tests that keep to names of their own, or one of a test's own, to be killed and brought back.

use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{child::Child, port, runtime::sharing, surroundings, wait::wait_for};

/// A broker takes seven seconds on a quiet machine, and forty beside a load of fifteen.
const PATIENCE: Duration = Duration::from_secs(240);

static SHARED: OnceCell<TestKafka> = OnceCell::const_new();

/// A private Apache Kafka, its own controller (KRaft). Gone when dropped, or with the process.
#[derive(Debug)]
pub struct TestKafka {
    port: u16,
    home: TempDir,
    server: Option<Child>,
}

impl TestKafka {
    /// The one of this process, started when it is first asked for. Prefix your names.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(|| sharing(Self::start())).await
    }

    /// One of the test's own.
    ///
    /// # Panics
    /// When it does not start; the panic carries its log.
    pub async fn start() -> Self {
        let home = TempDir::new().expect("temporary folder");
        let (port, controller) = (port::free(), port::free());
        let data = home.path().join("data");
        let settings = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nlog.dirs={}\n\
             auto.create.topics.enable=false\ngroup.initial.rebalance.delay.ms=0\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=1\n",
            data.display()
        );
        std::fs::write(home.path().join("server.properties"), settings).expect("settings are written");
        // What `kafka-storage format` writes, without a second start of Java.
        std::fs::create_dir(&data).expect("folder of the data");
        let formatted =
            "version=1\ncluster.id=coreloopTestsAAAAAAAAA\nnode.id=1\ndirectory.id=Y29yZWxvb3BUZXN0czAwMQ\n";
        std::fs::write(data.join("meta.properties"), formatted).expect("the data is formatted");
        let mut kafka = Self { port, home, server: None };
        kafka.resurrect().await;
        kafka
    }

    /// Its address, as clients are given it.
    #[must_use]
    pub fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it where it stands.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Freezes it: connections stay open, nothing is answered.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) {
        self.server.as_ref().expect("kafka runs").signal(Signal::STOP);
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&self) {
        self.server.as_ref().expect("kafka runs").signal(Signal::CONT);
    }

    /// Starts it again with what it has on its disk.
    ///
    /// # Panics
    /// When it does not come; the panic carries its log.
    pub async fn resurrect(&mut self) {
        let classes = format!("{}/*", surroundings::kafka_jars());
        let settings = self.home.path().join("server.properties").display().to_string();
        let args = [
            "-Xms64m",
            "-Xmx256m",
            "-XX:+UseSerialGC",
            // It runs for minutes: what a better compiler would gain it does not earn back.
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
            "-cp",
            &classes,
            "kafka.Kafka",
            &settings,
        ];
        let log = self.home.path().join("log");
        let args = args.map(str::to_owned);
        let mut server = Child::start("java", &args, std::fs::File::create(&log).expect("log file"));
        wait_for("kafka has started", PATIENCE, async || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(server.runs(), "kafka ended: {said}");
            said.contains("Kafka Server started").then_some(())
        })
        .await;
        self.server = Some(server);
    }
}
