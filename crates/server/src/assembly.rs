//! Modules built, put in the link table, wrapped in layers and served.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use coreloop_access::{Cors, Gate};
use coreloop_config::Settings;
use coreloop_core::{Clock, Ids};
use coreloop_service::{Built, Check, Ctx, Links, Local, Metrics, Module, Readiness, Worker};
use coreloop_transcode::descriptor;
use sqlx::PgPool;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::pb::{
    v1::server_reflection_server::ServerReflectionServer as ReflectionV1,
    v1alpha::server_reflection_server::ServerReflectionServer as ReflectionV1Alpha,
};

use crate::{
    Running, StartError, admin,
    admission::House,
    bodies::Bodies,
    edge::Edge,
    health::ModuleHealth,
    listen::{self, Protocol, Stops},
    open_stream::OpenStreams,
    options::ProcessOptions,
    pipeline::{Layered, Layers, Process},
    plan::Plans,
    ports::Ports,
    readiness::Checks,
    red::Red,
    reflection,
    running::Inside,
    storage::Redis,
    workers::{self, Ends},
};

/// Name of the module whose plain HTTP is the REST edge.
pub(crate) const EDGE: &str = "edge";

/// Everything that modules are built from and served with.
pub(crate) struct Assembly {
    pub(crate) settings: Settings,
    pub(crate) options: ProcessOptions,
    pub(crate) links: Links,
    pub(crate) gate: Arc<Gate>,
    pub(crate) red: Red,
    pub(crate) process: Arc<Process>,
    /// By module; each is taken when its module is served.
    pub(crate) plans: BTreeMap<&'static str, Plans>,
    pub(crate) pools: BTreeMap<&'static str, PgPool>,
    pub(crate) redis: Option<Redis>,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) extensions: http::Extensions,
}

/// A module that was built.
struct Member {
    name: &'static str,
    foreign: &'static [&'static str],
    built: Built,
}

/// Where a process listens.
struct Addresses {
    grpc: BTreeMap<String, SocketAddr>,
    gateway: Option<SocketAddr>,
    admin: SocketAddr,
}

impl Assembly {
    pub(crate) async fn serve(mut self, modules: Vec<Box<dyn Module>>, ports: Ports) -> Result<Running, StartError> {
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
        checks.push(self.revocations_check());
        let server = self.options.server.clone();
        let (timeout, keep) =
            (Duration::from_millis(server.check_timeout_ms), Duration::from_millis(server.check_cache_ms));
        let checks = Checks::new(checks, timeout, keep);
        let checks = late_checks.get_or_init(|| checks).clone();

        let mut work: Vec<Worker> =
            members.iter_mut().flat_map(|member| std::mem::take(&mut member.built.workers)).collect();
        work.push(self.gate_worker());
        let inside = Inside {
            checks,
            links: self.links.clone(),
            stops: Stops::new(),
            stopping,
            ends: Ends::default(),
            workers: TaskTracker::new(),
            pools: self.pools.values().cloned().collect(),
            drain: server.drain(),
            drain_lead: Duration::from_millis(server.drain_lead_ms),
        };
        let addresses = self.listen(members, ports, &readiness, &inside);
        workers::start(work, &inside.workers, &inside.ends, &self.red);
        Ok(Running {
            grpc_addrs: addresses.grpc,
            gateway_addr: addresses.gateway,
            admin_addr: addresses.admin,
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
            redis_client: self.redis.as_ref().map(|redis| redis.client.clone()),
            links: self.links.clone(),
            mesh_secret: self.options.mesh_secret.clone(),
            gate: Arc::clone(&self.gate),
            limiter: Arc::clone(&self.process.limiter),
            trusted: self.process.trusted.clone(),
            max_in_flight: self.options.server.max_in_flight,
            cors: Cors::new(&self.options.cors),
            metrics: self.metrics.clone(),
            spans: self.process.spans.clone(),
            readiness: readiness.clone(),
            stopping: stopping.clone(),
            process: self.settings.clone(),
            extensions: self.extensions.clone(),
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

    /// Without a first snapshot every token is refused. Later trouble with the stream does not count: known revocations
    /// serve on while chapter 01 allows it.
    fn revocations_check(&self) -> Check {
        let gate = Arc::clone(&self.gate);
        Check::new("process/revocations", move || {
            let loaded = gate.revocations().has_loaded();
            async move { if loaded { Ok(()) } else { Err("no snapshot of revocations was read yet".to_owned()) } }
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

    fn listen(&mut self, members: Vec<Member>, mut ports: Ports, readiness: &Readiness, inside: &Inside) -> Addresses {
        let mut plans = std::mem::take(&mut self.plans);
        let (server, stops) = (&self.options.server, &inside.stops);
        let (listener, admin) = ports.admin;
        let mut addresses = Addresses { grpc: BTreeMap::new(), gateway: None, admin };
        let probes = http(admin::router(readiness.clone(), self.metrics.clone()));
        listen::serve(listener, probes, Protocol::Http, server, stops);
        let members: Vec<_> = members
            .into_iter()
            .filter_map(|member| Some((member.name, self.layer(plans.remove(member.name)?, member, inside))))
            .collect();
        // Every slot is filled before the first listener answers.
        for (name, (layered, _)) in &members {
            self.links.set_local(name, Local::new(layered.clone()));
        }
        for (name, (layered, http)) in members {
            if let Some((listener, addr)) = ports.grpc.remove(name) {
                listen::serve(listener, layered, Protocol::Grpc, server, stops);
                addresses.grpc.insert(name.to_owned(), addr);
            }
            if let (EDGE, Some(router), Some((listener, addr))) = (name, http, ports.gateway.take_if(|_| name == EDGE))
            {
                let edge = Edge::new(Arc::clone(&self.process), self.red.clone(), router);
                listen::serve(listener, edge, Protocol::Http, server, stops);
                addresses.gateway = Some(addr);
            }
        }
        addresses
    }

    /// A module's gRPC with health, reflection and every layer around it, and its plain HTTP.
    fn layer(&self, plans: Plans, member: Member, inside: &Inside) -> (Layered, Option<Local>) {
        let Member { name, foreign, built } = member;
        let services = services_of(name, foreign);
        let health = ModuleHealth::new(name, services.clone(), inside.checks.clone());
        let shown = reflection::Shown::new(services, name == EDGE);
        let rpcs = built
            .rpcs
            .with(HealthServer::new(health))
            .with(ReflectionV1::new(reflection::v1::Service(shown.clone())))
            .with(ReflectionV1Alpha::new(reflection::v1alpha::Service(shown)));
        let layered = Layered::new(Layers {
            process: Arc::clone(&self.process),
            plans,
            house: House::new(&self.options.server, &self.red.in_flight(name), &self.red.shed(name)),
            bodies: Bodies::new(&self.options.server, self.red.shed(name)),
            streams: OpenStreams::new(
                self.options.server.max_open_streams,
                self.red.open_streams(name),
                self.red.shed(name),
                inside.stopping.clone(),
            ),
            rpcs,
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
