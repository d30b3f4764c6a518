//! A RabbitMQ: one for all tests that keep to names of their own, or one of a test's own, to be killed and brought back.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{child::Child, port, runtime::sharing, wait::wait_for};

/// A broker takes ten seconds on a quiet machine, and forty beside a load of fifteen.
const PATIENCE: Duration = Duration::from_secs(240);

/// What the machine has installed.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

static SHARED: OnceCell<TestRabbit> = OnceCell::const_new();

/// A private RabbitMQ server. Gone when dropped, or with the process.
#[derive(Debug)]
pub struct TestRabbit {
    port: u16,
    distribution: u16,
    names: u16,
    home: TempDir,
    server: Option<Child>,
    // The names of Erlang's nodes: ours alone, so that no daemon is left behind. After the server, which asks it to the last.
    _epmd: Child,
}

impl TestRabbit {
    /// The one of this process, started when it is first asked for. Prefix what you declare.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// One of the test's own.
    ///
    /// # Panics
    /// When it does not start; the panic carries its log.
    pub async fn start() -> Self {
        let home = TempDir::new().expect("temporary folder");
        let (port, distribution, names) = (port::free(), port::free(), port::free());
        let settings = format!(
            "listeners.tcp.local = 127.0.0.1:{port}\nloopback_users = none\nlog.console = true\ndisk_free_limit.absolute = 1MB\n"
        );
        std::fs::write(home.path().join("rabbitmq.conf"), settings).expect("settings are written");
        std::fs::write(home.path().join("plugins"), "[].").expect("plugins are written");
        let log = std::fs::File::create(home.path().join("epmd.log")).expect("log file");
        let args = ["-port", &names.to_string(), "-address", "127.0.0.1"].map(str::to_owned);
        let epmd = Child::start("epmd", &args, log);
        let mut rabbit = Self { port, distribution, names, home, server: None, _epmd: epmd };
        rabbit.resurrect().await;
        rabbit
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Its address without scheme, to put a proxy before it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits until the queues that were declared are in its registry on disk, which it writes some seconds after it has said that
    /// it has them. Killed before, 3.10.8 finds their messages again but never a leader for them: they take and give nothing.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn registered(&self, queues: &[String]) {
        let node = format!("test{}@localhost", self.port);
        let registry = self.home.path().join("data").join(&node).join("quorum").join(&node).join("names.dets");
        wait_for("the queues are registered", PATIENCE, async || {
            let kept = std::fs::read(&registry).unwrap_or_default();
            let there = |name: &String| kept.windows(name.len()).any(|part| part == name.as_bytes());
            queues.iter().all(there).then_some(())
        })
        .await;
    }

    /// Kills it where it stands; what it confirmed is on its disk.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts it again with what it has on its disk.
    ///
    /// # Panics
    /// When it does not come; the panic carries its log.
    pub async fn resurrect(&mut self) {
        let home = self.home.path();
        let path = |name: &str| home.join(name).display().to_string();
        let environment = [
            // The script becomes the server instead of watching over it: it is to end with us.
            ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
            ("HOME", home.display().to_string()),
            ("ERL_EPMD_PORT", self.names.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODENAME", format!("test{}@localhost", self.port)),
            ("RABBITMQ_DIST_PORT", self.distribution.to_string()),
            ("RABBITMQ_MNESIA_BASE", path("data")),
            ("RABBITMQ_LOG_BASE", path("logs")),
            ("RABBITMQ_LOGS", "-".to_owned()),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins")),
            // Schedulers that wait asleep: the cores are wanted elsewhere.
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none".to_owned()),
        ];
        let mut args: Vec<String> = environment.map(|(name, value)| format!("{name}={value}")).to_vec();
        args.push(SERVER.to_owned());
        let log = home.join("log");
        let mut server = Child::start("env", &args, std::fs::File::create(&log).expect("log file"));
        let port = self.port;
        // However long that takes, it is not the time of a test.
        sharing(wait_for("rabbitmq answers", PATIENCE, async || {
            assert!(server.runs(), "rabbitmq ended: {}", std::fs::read_to_string(&log).unwrap_or_default());
            tokio::task::spawn_blocking(move || greets(port)).await.unwrap_or(false).then_some(())
        }))
        .await;
        self.server = Some(server);
    }
}

/// Whether it answers the greeting of AMQP 0-9-1, which it does when it has started whole.
fn greets(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let limit = Duration::from_secs(1);
        let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut first = [0_u8; 1];
        stream.read_exact(&mut first)?;
        // A method frame: connection.start.
        Ok(first == [1])
    };
    ask().unwrap_or(false)
}
