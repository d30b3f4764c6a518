//! A real Envoy in front of a mesh.

use std::{net::SocketAddr, time::Duration};

use tempfile::TempDir;

use crate::{
    Rest,
    child::Child,
    port, surroundings,
    wait::{PATIENCE, wait_for},
};

/// A running Envoy. Gone when dropped.
#[derive(Debug)]
pub struct Envoy {
    ports: Ports,
    home: TempDir,
    process: Option<Child>,
}

/// Ports an Envoy is configured for.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Where clients connect.
    pub ingress: u16,
    /// Its admin interface.
    pub admin: u16,
}

impl Envoy {
    /// Starts one with the configuration that `render` makes for these ports.
    ///
    /// # Panics
    /// When it does not get ready; the panic carries its log.
    pub async fn start(render: impl FnOnce(Ports) -> String) -> Self {
        let ports = Ports { ingress: port::free(), admin: port::free() };
        let home = TempDir::new().expect("temporary folder");
        std::fs::write(home.path().join("envoy.yaml"), render(ports)).expect("configuration is written");
        let mut envoy = Self { ports, home, process: None };
        envoy.resurrect().await;
        envoy
    }

    /// Kills it (SIGKILL): connections of both sides break.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same ports.
    ///
    /// # Panics
    /// When it does not get ready; the panic carries its log.
    pub async fn resurrect(&mut self) {
        let config = self.home.path().join("envoy.yaml").display().to_string();
        let args = ["-c", &config, "--concurrency", "2", "-l", "warning", "--disable-hot-restart"];
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.home.path().join("log"));
        let mut process = Child::start(&surroundings::envoy_binary(), &args, log.expect("log file"));
        let admin = Rest::to(format!("http://127.0.0.1:{}", self.ports.admin));
        wait_for("envoy is ready", PATIENCE, async || {
            assert!(process.runs(), "envoy ended: {}", self.log());
            let ready = admin.get("/ready").within(Duration::from_secs(5)).try_send().await;
            ready.is_ok_and(|answer| answer.status == 200).then_some(())
        })
        .await;
        self.process = Some(process);
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports.ingress).into()
    }

    /// Where clients connect, as an address with scheme.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.ingress)
    }

    /// What it wrote: its own messages and the access log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}
