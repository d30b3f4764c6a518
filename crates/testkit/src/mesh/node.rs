//! One process of a mesh: it runs inside ours, on ports of its own, and can be killed and started again.

use std::sync::Arc;

use coreloop_config::Settings;
use coreloop_core::ManualClock;
use coreloop_eventing::Brokers;
use coreloop_server::{OtlpOptions, Running, Server, StartError, Telemetry};
use coreloop_service::Module;

use crate::{child, wait::PATIENCE};

/// The modules of a mesh that was not asked for others ([`Builder::modules`](super::Builder::modules)); the edge comes last,
/// for it needs the others.
pub const MODULES: &[&str] = &["auth", "ops", "rewards", "shop", "wallet", "edge"];

/// How a module is made.
type Make = fn() -> Box<dyn Module>;

/// Every module that there is, in the order in which processes are started.
const ALL: &[(&str, Make)] = &[
    ("auth", || Box::new(coreloop_auth::module())),
    ("character", || Box::new(coreloop_character::module())),
    ("chat", || Box::new(coreloop_chat::module())),
    ("image", || Box::new(coreloop_image::module())),
    ("location", || Box::new(coreloop_location::module())),
    ("my", || Box::new(coreloop_my::module())),
    ("notification", || Box::new(coreloop_notification::module())),
    ("ops", || Box::new(coreloop_ops::module())),
    ("realtime", || Box::new(coreloop_realtime::module())),
    ("rewards", || Box::new(coreloop_rewards::module())),
    ("scan", || Box::new(coreloop_scan::module())),
    ("shop", || Box::new(coreloop_shop::module())),
    ("wallet", || Box::new(coreloop_wallet::module())),
    ("edge", || Box::new(coreloop_gateway::module())),
];

/// A process of a mesh.
#[derive(Debug)]
pub struct Node {
    replica: usize,
    modules: Vec<&'static str>,
    settings: Settings,
    clock: ManualClock,
    telemetry: Telemetry,
    brokers: Brokers,
    running: Option<Running>,
}

impl Node {
    /// A process that serves `modules`, not started.
    ///
    /// # Panics
    /// When the settings of traces are wrong.
    #[must_use]
    pub fn new(replica: usize, modules: &[&'static str], settings: Settings, clock: ManualClock) -> Self {
        let otlp = OtlpOptions::read(&settings.section("otlp")).expect("settings of traces");
        let telemetry = Telemetry::exporting(&otlp).expect("a receiver of traces");
        Self {
            replica,
            modules: modules.to_vec(),
            settings,
            clock,
            telemetry,
            brokers: Brokers::default(),
            running: None,
        }
    }

    /// The same over other brokers than its Redis.
    #[must_use]
    pub fn over(self, brokers: Brokers) -> Self {
        Self { brokers, ..self }
    }

    /// It is of this replica and serves `module`.
    #[must_use]
    pub fn serves(&self, replica: usize, module: &str) -> bool {
        self.replica == replica && self.modules.contains(&module)
    }

    /// The running process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("the node runs")
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start; the panic carries every reason.
    pub async fn start(&mut self) {
        self.start_unready().await;
        let ready = tokio::time::timeout(PATIENCE * 2, self.running().ready()).await;
        assert!(ready.is_ok(), "{:?} is not ready: {:?}", self.modules, self.running().readiness.components().await);
    }

    /// Starts it without waiting for its dependencies.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_unready(&mut self) {
        let started = self.try_start().await;
        self.running =
            Some(started.unwrap_or_else(|error| panic!("{:?} did not start: {}", self.modules, chain(&error))));
    }

    /// Starts a process of these settings.
    ///
    /// # Errors
    /// Why it does not start.
    pub async fn try_start(&self) -> Result<Running, StartError> {
        // Its ports may be those of one that has just ended.
        child::settled();
        Server::builder(self.settings.clone())
            .modules(self.modules.iter().map(|name| module(name)).collect())
            .clock(Arc::new(self.clock.clone()))
            .spans(self.telemetry.spans())
            .extension(self.brokers.clone())
            .start()
            .await
    }

    /// Ends it at once, as a killed process would.
    pub async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort().await;
        }
    }

    /// Drains it and ends it.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
    }

    /// Takes the running process out, to end it in a way of the test's own.
    #[must_use]
    pub fn take(&mut self) -> Option<Running> {
        self.running.take()
    }
}

/// The names of every module that there is.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// A module by its name.
///
/// # Panics
/// When there is none.
pub(super) fn module(name: &str) -> Box<dyn Module> {
    let (_, make) = ALL.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("there is no module {name}"));
    make()
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
