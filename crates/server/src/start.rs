//! From settings and modules to a process that serves: config, pools, migrations, gate, modules, links, listeners, workers.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use coreloop_access::{Gate, Keys, Policy, Revocations, address::TrustedProxies, gate::Parts};
use coreloop_config::{Errors, Finding, Settings};
use coreloop_core::{Clock, Ids, SystemClock, id::SystemIds};
use coreloop_limit::Limiter;
use coreloop_service::{Built, Check, Ctx, Links, Local, Metrics, Module, Readiness, Worker};
use coreloop_transcode::descriptor;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use secrecy::ExposeSecret as _;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::pb::{
    v1::server_reflection_server::ServerReflectionServer as ReflectionV1,
    v1alpha::server_reflection_server::ServerReflectionServer as ReflectionV1Alpha,
};

use crate::{
    Running, StartError, admin,
    admission::Admission,
    edge::Edge,
    health::ModuleHealth,
    keys::PublishedKeys,
    listen::{self, Protocol, Stops},
    options::ProcessOptions,
    peers,
    pipeline::{Layered, Layers, Process},
    plan::Plans,
    readiness::Checks,
    red::{Pools, Red},
    reflection,
    running::Inside,
    spans::Spans,
    workers,
};

/// Name of the module whose plain HTTP is the REST edge.
const EDGE: &str = "edge";

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

    /// Starts: pools, modules, link table, listeners, workers. Returns once every listener is bound.
    ///
    /// # Errors
    /// Wrong settings (all at once), a taken port, a missing peer, a module that cannot be built.
    pub async fn start(self) -> Result<Running, StartError> {
        let options = ProcessOptions::read(&self.settings)?;
        let limits = self.settings.section("limit").read::<coreloop_limit::Options>()?;
        check_peers(&self.modules, &options)?;
        let ports = Ports::bind(&self.modules, &options)?;
        let pools = pools(&self.modules, &options)?;
        let redis = Redis::open(&options)?;
        if self.migrate {
            migrate(&self.modules, &options).await?;
        }
        let links = Links::default();
        let names: Vec<&str> = self.modules.iter().map(|module| module.name()).collect();
        peers::connect(&links, &options, &names)?;

        let gate = self.gate(&options, &links, redis.as_ref())?;
        let limiter =
            Limiter::new(&limits, redis.as_ref().map(|redis| redis.manager.clone()), self.ids.uuid().as_u64_pair().1);
        self.metrics.with(|registry| {
            gate.metrics().register(registry);
            limiter.register(registry);
        });
        let gauges = pools.iter().map(|(name, pool)| ((*name).to_owned(), pool.clone())).collect();
        let red = Red::register(&self.metrics, Pools::of(gauges));
        let process = Arc::new(Process {
            gate: Arc::clone(&gate),
            limiter,
            trusted: TrustedProxies::parse(&options.access.trusted_proxies).unwrap_or_default(),
            ids: Arc::clone(&self.ids),
            clock: Arc::clone(&self.clock),
            spans: self.spans.clone(),
            default_deadline: Duration::from_millis(options.server.default_deadline_ms),
            max_request_bytes: options.server.max_request_bytes,
        });
        Assembly {
            settings: self.settings,
            options,
            links,
            gate,
            red,
            process,
            pools,
            redis,
            metrics: self.metrics,
            clock: self.clock,
            ids: self.ids,
        }
        .serve(self.modules, ports)
        .await
    }

    fn gate(&self, options: &ProcessOptions, links: &Links, redis: Option<&Redis>) -> Result<Arc<Gate>, StartError> {
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
        let policy = Policy::committed()
            .map_err(|error| StartError::Part { what: "the committed descriptors".to_owned(), source: error.into() })?;
        Ok(Arc::new(Gate::new(Parts { options: options.access.clone(), clock, policy, keys, revocations, metrics })))
    }
}

/// Every peer that a module needs is served here or has an address; a link is looked up only when it is called.
fn check_peers(modules: &[Box<dyn Module>], options: &ProcessOptions) -> Result<(), StartError> {
    for module in modules {
        for peer in module.requires() {
            let here = modules.iter().any(|other| other.name() == *peer);
            if !here && !options.peers.contains_key(*peer) {
                return Err(StartError::Peer { module: module.name(), peer });
            }
        }
    }
    Ok(())
}

/// Listeners, bound before anything else is tried: a taken port is the most common trouble.
struct Ports {
    grpc: BTreeMap<&'static str, (TcpListener, SocketAddr)>,
    gateway: Option<(TcpListener, SocketAddr)>,
    admin: (TcpListener, SocketAddr),
}

impl Ports {
    fn bind(modules: &[Box<dyn Module>], options: &ProcessOptions) -> Result<Self, StartError> {
        let server = &options.server;
        let port = |name: &str| {
            let port = server.ports.get(name).copied().unwrap_or(0);
            listen::bind(&server.host, port, &format!("server.ports.{name}"))
        };
        let mut grpc = BTreeMap::new();
        for module in modules {
            grpc.insert(module.name(), port(module.name())?);
        }
        let gateway = grpc.contains_key(EDGE).then(|| port("gateway")).transpose()?;
        let admin = listen::bind(&server.host, server.admin_port, "server.admin_port")?;
        Ok(Self { grpc, gateway, admin })
    }
}

fn pools(modules: &[Box<dyn Module>], options: &ProcessOptions) -> Result<BTreeMap<&'static str, PgPool>, StartError> {
    let mut pools = BTreeMap::new();
    for module in modules.iter().filter(|module| module.migrations().is_some()) {
        if options.database.url.is_none() {
            let text = format!("is required by `{}`; set it in a file or as CORELOOP_DATABASE__URL", module.name());
            return Err(Errors(vec![Finding { origin: None, key: "database.url".to_owned(), text }]).into());
        }
        let pool = coreloop_db::connect(&options.database, module.name())
            .map_err(|error| StartError::Part { what: "setting database.url".to_owned(), source: error.into() })?;
        pools.insert(module.name(), pool);
    }
    Ok(pools)
}

/// Roles, schemas and migrations of all modules, at the same time.
async fn migrate(modules: &[Box<dyn Module>], options: &ProcessOptions) -> Result<(), StartError> {
    let all = modules.iter().filter_map(|module| Some((module.name(), module.migrations()?)));
    let work = all.map(|(name, migrations)| async move {
        if let Some(admin) = &options.database.admin_url {
            coreloop_db::bootstrap(admin, name, options.database.password.as_ref()).await.map_err(|error| {
                StartError::Part {
                    what: format!("the role and schema of `{name}` cannot be made (setting database.admin_url)"),
                    source: error.into(),
                }
            })?;
        }
        coreloop_db::migrate(&options.database, name, migrations).await.map_err(|error| StartError::Part {
            what: format!("the database of `{name}` cannot be migrated (setting database.url)"),
            source: error.into(),
        })
    });
    futures::future::try_join_all(work).await.map(|_| ())
}

/// Redis of the process.
struct Redis {
    client: redis::Client,
    manager: ConnectionManager,
}

impl Redis {
    /// Connects on first use, so a process starts while its Redis is still away.
    fn open(options: &ProcessOptions) -> Result<Option<Self>, StartError> {
        let Some(url) = &options.redis.url else { return Ok(None) };
        let failed =
            |error: redis::RedisError| StartError::Part { what: "setting redis.url".to_owned(), source: error.into() };
        let client = redis::Client::open(url.expose_secret()).map_err(failed)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_millis(options.redis.connect_timeout_ms)))
            .set_response_timeout(Some(Duration::from_millis(options.redis.response_timeout_ms)))
            .set_max_delay(Duration::from_secs(1));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(failed)?;
        Ok(Some(Self { client, manager }))
    }
}

/// Everything that modules are built from and served with.
struct Assembly {
    settings: Settings,
    options: ProcessOptions,
    links: Links,
    gate: Arc<Gate>,
    red: Red,
    process: Arc<Process>,
    pools: BTreeMap<&'static str, PgPool>,
    redis: Option<Redis>,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

/// A module that was built.
struct Member {
    name: &'static str,
    foreign: &'static [&'static str],
    built: Built,
}

impl Assembly {
    async fn serve(self, modules: Vec<Box<dyn Module>>, ports: Ports) -> Result<Running, StartError> {
        let stopping = CancellationToken::new();
        let late_checks: Arc<OnceLock<Checks>> = Arc::default();
        let readiness = late(&late_checks);
        let building = modules.into_iter().map(|module| {
            let (name, foreign) = (module.name(), module.foreign_services());
            let ctx = self.ctx(name, &readiness, &stopping);
            async move {
                let built = module.build(ctx).await.map_err(|source| StartError::Module { module: name, source })?;
                Ok::<_, StartError>(Member { name, foreign, built })
            }
        });
        let mut members = futures::future::try_join_all(building).await?;

        let mut checks: Vec<Check> =
            members.iter_mut().flat_map(|member| std::mem::take(&mut member.built.checks)).collect();
        checks.push(self.keys_check());
        let server = &self.options.server;
        let (timeout, keep) =
            (Duration::from_millis(server.check_timeout_ms), Duration::from_millis(server.check_cache_ms));
        let checks = Checks::new(checks, timeout, keep);
        let checks = late_checks.get_or_init(|| checks).clone();

        let mut work: Vec<Worker> =
            members.iter_mut().flat_map(|member| std::mem::take(&mut member.built.workers)).collect();
        work.push(self.gate_worker());
        let stops = Stops::new();
        let (grpc_addrs, gateway_addr) = self.listen(members, ports.grpc, ports.gateway, &checks, &stopping, &stops);
        let (listener, admin_addr) = ports.admin;
        listen::serve(
            listener,
            http(admin::router(readiness.clone(), self.metrics.clone())),
            Protocol::Http,
            server,
            &stops,
        );

        let (workers, stop_workers) = (TaskTracker::new(), CancellationToken::new());
        workers::start(work, &workers, &stop_workers, &self.red);
        let inside = Inside {
            checks,
            stops,
            stopping,
            stop_workers,
            workers,
            pools: self.pools.into_values().collect(),
            drain: server.drain(),
            drain_lead: Duration::from_millis(server.drain_lead_ms),
        };
        Ok(Running {
            grpc_addrs,
            gateway_addr,
            admin_addr,
            links: self.links,
            metrics: self.metrics,
            readiness,
            gate: self.gate,
            inside,
        })
    }

    fn ctx(&self, name: &'static str, readiness: &Readiness, stopping: &CancellationToken) -> Ctx {
        // The edge's settings have the name that people know it by.
        let section = if name == EDGE { "gateway" } else { name };
        Ctx {
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
            mode: self.options.mode,
            settings: self.settings.section(section),
            db: self.pools.get(name).cloned(),
            redis: self.redis.as_ref().map(|redis| redis.manager.clone()),
            links: self.links.clone(),
            gate: Arc::clone(&self.gate),
            metrics: self.metrics.clone(),
            readiness: readiness.clone(),
            stopping: stopping.clone(),
        }
    }

    /// Without keys nobody can be known, so nothing that needs a token can be served.
    fn keys_check(&self) -> Check {
        let gate = Arc::clone(&self.gate);
        Check::new("process/keys", move || {
            let known = !gate.keys().is_empty();
            async move { if known { Ok(()) } else { Err("no published keys were read yet".to_owned()) } }
        })
    }

    /// Follows revocations and keys.
    fn gate_worker(&self) -> Worker {
        let (gate, redis) = (Arc::clone(&self.gate), self.redis.as_ref().map(|redis| redis.client.clone()));
        Worker::new("access.gate", move |stop| {
            let (gate, redis) = (Arc::clone(&gate), redis.clone());
            async move { gate.run(redis, stop).await }
        })
    }

    fn listen(
        &self,
        members: Vec<Member>,
        mut grpc: BTreeMap<&'static str, (TcpListener, SocketAddr)>,
        mut gateway: Option<(TcpListener, SocketAddr)>,
        checks: &Checks,
        stopping: &CancellationToken,
        stops: &Stops,
    ) -> (BTreeMap<String, SocketAddr>, Option<SocketAddr>) {
        let server = &self.options.server;
        let (mut addrs, mut gateway_addr) = (BTreeMap::new(), None);
        let members: Vec<_> =
            members.into_iter().map(|member| (member.name, self.layer(member, checks, stopping))).collect();
        // Every slot is filled before the first listener answers.
        for (name, (layered, _)) in &members {
            self.links.set_local(name, Local::new(layered.clone()));
        }
        for (name, (layered, http)) in members {
            if let Some((listener, addr)) = grpc.remove(name) {
                listen::serve(listener, layered, Protocol::Grpc, server, stops);
                addrs.insert(name.to_owned(), addr);
            }
            if let (EDGE, Some(router), Some((listener, addr))) = (name, http, gateway.take_if(|_| name == EDGE)) {
                let edge = Edge::new(Arc::clone(&self.process), self.red.clone(), router);
                listen::serve(listener, edge, Protocol::Http, server, stops);
                gateway_addr = Some(addr);
            }
        }
        (addrs, gateway_addr)
    }

    /// A module's gRPC with health, reflection and every layer around it, and its plain HTTP.
    fn layer(&self, member: Member, checks: &Checks, stopping: &CancellationToken) -> (Layered, Option<axum::Router>) {
        let Member { name, foreign, built } = member;
        let services = services_of(name, foreign);
        let health = ModuleHealth::new(name, services.clone(), checks.clone(), stopping.clone());
        let shown = reflection::Shown::new(services, name == EDGE);
        let routes = built
            .routes
            .unwrap_or_default()
            .add_service(HealthServer::new(health))
            .add_service(ReflectionV1::new(reflection::v1::Service(shown.clone())))
            .add_service(ReflectionV1Alpha::new(reflection::v1alpha::Service(shown)))
            .prepare();
        let layered = Layered::new(Layers {
            process: Arc::clone(&self.process),
            plans: Plans::of(name, foreign, &self.red),
            admission: Admission::new(&self.options.server, self.red.in_flight(name), self.red.shed(name)),
            routes,
        });
        (layered, built.http)
    }
}

/// Readiness of checks that are not known before every module is built.
fn late(checks: &Arc<OnceLock<Checks>>) -> Readiness {
    let checks = Arc::clone(checks);
    Readiness::new(move || {
        let checks = checks.get().cloned();
        async move {
            match checks {
                Some(checks) => checks.components().await,
                None => Vec::new(),
            }
        }
    })
}

fn services_of(module: &str, foreign: &[&str]) -> Vec<String> {
    let package = format!("coreloop.{module}.");
    let names = descriptor::pool().services().map(|service| service.full_name().to_owned());
    names.filter(|name| name.starts_with(&package) || foreign.contains(&name.as_str())).collect()
}

/// An axum router as the listeners take it.
fn http(
    router: axum::Router,
) -> impl tower::Service<
    http::Request<Body>,
    Response = http::Response<Body>,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone
+ Send
+ Sync
+ 'static {
    use tower::ServiceExt as _;
    router
        .map_request(|request: http::Request<Body>| request.map(axum::body::Body::new))
        .map_response(|response: http::Response<axum::body::Body>| response.map(Body::new))
}
