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
    port: u16,
    home: TempDir,
    _process: Child,
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
        let config = home.path().join("envoy.yaml");
        std::fs::write(&config, render(ports)).expect("configuration is written");
        let args =
            ["-c", &config.display().to_string(), "--concurrency", "2", "-l", "warning", "--disable-hot-restart"];
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let log = home.path().join("log");
        let mut process =
            Child::start(&surroundings::envoy_binary(), &args, std::fs::File::create(&log).expect("log file"));
        let admin = Rest::to(format!("http://127.0.0.1:{}", ports.admin));
        wait_for("envoy is ready", PATIENCE, async || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(process.runs(), "envoy ended: {said}");
            let ready = admin.get("/ready").within(Duration::from_secs(1)).try_send().await;
            ready.is_ok_and(|answer| answer.status == 200).then_some(())
        })
        .await;
        Self { port: ports.ingress, home, _process: process }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Where clients connect, as an address with scheme.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it wrote: its own messages and the access log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}
