//! From settings and modules to a process that serves: config, pools, migrations, gate, modules, links, listeners, workers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coreloop_access::{Gate, Keys, Policy, PolicyError, Revocations, address::TrustedProxies, gate::Parts};
use coreloop_config::{Errors, Settings};
use coreloop_core::{Clock, Ids, SystemClock, id::SystemIds};
use coreloop_limit::Limiter;
use coreloop_service::{Links, Metrics, Module, Spans};
use tokio::task::JoinHandle;

use crate::{
    Running, StartError,
    assembly::Assembly,
    keys::PublishedKeys,
    options::ProcessOptions,
    peers,
    pipeline::Process,
    plan::Plans,
    ports::Ports,
    red::{Pools, Red},
    storage::{self, Redis},
};

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
            spans: None,
            keys: None,
            extensions: http::Extensions::default(),
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
    spans: Option<Arc<dyn Spans>>,
    keys: Option<Keys>,
    extensions: http::Extensions,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.modules.iter().map(|module| module.name()).collect();
        f.debug_struct("Builder").field("modules", &names).field("migrate", &self.migrate).finish_non_exhaustive()
    }
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

    /// Makes roles and schemas (with `database.admin_url`) and migrates before serving.
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// What modules find in their context, by type.
    #[must_use]
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// Where finished calls are exported to ([`crate::Telemetry::spans`]).
    #[must_use]
    pub fn spans(mut self, spans: Option<Arc<dyn Spans>>) -> Self {
        self.spans = spans;
        self
    }

    /// Public keys that are given rather than read from auth: for tests of a service without auth.
    #[must_use]
    pub fn keys(mut self, keys: Keys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// The settings of the process, if nothing is wrong with them that can be told before anything is tried.
    ///
    /// # Errors
    /// Everything wrong with them, peers that are needed and have no address included.
    pub fn check(&self) -> Result<ProcessOptions, Errors> {
        let mut errors = Errors::default();
        let options = errors.absorb(ProcessOptions::read(&self.settings));
        errors.absorb(self.check_peers());
        errors.into_result()?;
        options.ok_or_else(Errors::default)
    }

    /// Every peer that is needed is served here or has an address; a link is looked up only when it is called.
    fn check_peers(&self) -> Result<(), Errors> {
        let needs = self.modules.iter().flat_map(|module| module.requires().iter().map(|peer| (module.name(), *peer)));
        // Every process verifies tokens, with the keys that auth publishes.
        let keys = self.keys.is_none().then_some(("process", "auth"));
        let here = |name: &str| self.modules.iter().any(|module| module.name() == name);
        let read = self.settings.section("peers").read_with(|peers: &BTreeMap<String, String>, report| {
            for (who, peer) in needs.chain(keys).filter(|(_, peer)| !here(peer) && !peers.contains_key(*peer)) {
                report.refuse(peer, format!("must be set: `{who}` needs it, and this process does not serve it"));
            }
        });
        read.map(drop)
    }

    /// Starts: pools, modules, link table, listeners, workers. Returns once every listener is bound.
    ///
    /// # Errors
    /// Wrong settings (all at once), a taken port, a missing peer, a module that cannot be built.
    pub async fn start(self) -> Result<Running, StartError> {
        let options = self.check()?;
        let ports = Ports::bind(&self.modules, &options)?;
        let pools = storage::pools(&self.modules, &options)?;
        let redis = Redis::open(&options)?;
        let gauges = pools.iter().map(|(name, pool)| ((*name).to_owned(), pool.clone())).collect();
        let red = Red::register(&self.metrics, Pools::of(gauges));
        // The descriptors are read while the databases answer: both take about as long.
        let contracts = Contracts::read(&self.modules, &red);
        if self.migrate {
            storage::migrate(&self.modules, &options).await?;
        }
        let Contracts { policy, plans } = contracts.await.map_err(contracts_failed)?.map_err(contracts_failed)?;
        let links = Links::default();
        let names: Vec<&str> = self.modules.iter().map(|module| module.name()).collect();
        peers::connect(&links, &options, &names)?;

        let gate = self.gate(policy, &options, &links, redis.as_ref());
        let limiter = Limiter::new(
            &options.limit,
            redis.as_ref().map(|redis| redis.manager.clone()),
            self.ids.uuid().as_u64_pair().1,
        );
        self.metrics.with(|registry| {
            gate.metrics().register(registry);
            limiter.register(registry);
            if let Some(spans) = &self.spans {
                spans.register(registry);
            }
        });
        let process = Arc::new(Process {
            gate: Arc::clone(&gate),
            limiter: Arc::new(limiter),
            trusted: TrustedProxies::parse(&options.access.trusted_proxies).unwrap_or_default(),
            ids: Arc::clone(&self.ids),
            clock: Arc::clone(&self.clock),
            spans: self.spans.clone(),
            default_deadline: Duration::from_millis(options.server.default_deadline_ms),
            max_deadline: Duration::from_millis(options.server.max_deadline_ms),
            max_request_bytes: options.server.max_request_bytes,
        });
        Assembly {
            settings: self.settings,
            options,
            links,
            gate,
            red,
            process,
            plans,
            pools,
            redis,
            metrics: self.metrics,
            clock: self.clock,
            ids: self.ids,
            extensions: self.extensions,
        }
        .serve(self.modules, ports)
        .await
    }

    fn gate(&self, policy: Policy, options: &ProcessOptions, links: &Links, redis: Option<&Redis>) -> Arc<Gate> {
        let metrics = coreloop_access::Metrics::default();
        let clock = Arc::clone(&self.clock);
        let revocations = match redis {
            Some(redis) => Revocations::following(
                &options.access,
                redis.manager.clone(),
                self.ids.uuid().to_string(),
                Arc::clone(&clock),
                metrics.clone(),
            ),
            None => Revocations::alone(Arc::clone(&clock)),
        };
        let keys = match &self.keys {
            Some(keys) => keys.clone(),
            None => Keys::from_source(Arc::new(PublishedKeys(links.to("auth")))),
        };
        Arc::new(Gate::new(Parts { options: options.access.clone(), clock, policy, keys, revocations, metrics }))
    }
}

/// What the descriptors say, as the process needs it.
struct Contracts {
    policy: Policy,
    plans: BTreeMap<&'static str, Plans>,
}

impl Contracts {
    /// Reads them on a thread of its own.
    fn read(modules: &[Box<dyn Module>], red: &Red) -> JoinHandle<Result<Self, PolicyError>> {
        let modules: Vec<_> = modules.iter().map(|module| (module.name(), module.foreign_services())).collect();
        let red = red.clone();
        tokio::task::spawn_blocking(move || {
            let policy = Policy::committed()?;
            let plans = modules.into_iter().map(|(name, foreign)| (name, Plans::of(name, foreign, &red)));
            Ok(Self { policy, plans: plans.collect() })
        })
    }
}

fn contracts_failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StartError {
    StartError::Part { what: "the committed descriptors cannot be read".to_owned(), source: source.into() }
}
