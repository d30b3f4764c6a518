//! The shape of a mesh, said in a sentence.

use std::sync::Arc;

use coreloop_access::testing::Issuer;
use coreloop_config::Settings;
use coreloop_core::ManualClock;
use coreloop_eventing::Brokers;

use super::{MASTER_KEY, MESH_SECRET, MODULES, Node, TestMesh, node, template};
use crate::{
    Balancer, FaultProxy, OtlpReceiver, TestDb, TestRedis, logs, port, roles, stand_ins::StandIns, surroundings,
};

/// What a mesh is made of.
#[derive(Debug, Default)]
pub struct Builder {
    /// Those that were asked for; none means [`MODULES`].
    modules: Vec<&'static str>,
    replicas: usize,
    split: bool,
    envoy: bool,
    spread: bool,
    stand_ins: bool,
    otlp: bool,
    proxies: Vec<Before>,
    toml: String,
    issuer: Option<Arc<Issuer>>,
    brokers: Brokers,
    keys: Vec<(String, coreloop_config::Value)>,
}

/// What a proxy stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Redis.
    Redis,
    /// Postgres.
    Postgres,
    /// The gRPC port of the first auth.
    Auth,
}

/// Ports of one replica.
#[derive(Debug, Clone)]
struct Ports {
    grpc: Vec<(&'static str, u16)>,
    gateway: u16,
}

impl Builder {
    /// With these modules alone, and auth and the edge, without which nobody is served. What they need of others they say
    /// themselves when the mesh starts. The database has the schemas of all.
    ///
    /// # Panics
    /// When there is no module of a name.
    #[must_use]
    pub fn modules(mut self, names: &[&str]) -> Self {
        for name in names {
            let known = node::names().collect::<Vec<_>>();
            assert!(known.contains(name), "there is no module {name}, there are {}", known.join(", "));
        }
        let wanted = |name: &&str| ["auth", "edge"].contains(name) || names.contains(name);
        self.modules = node::names().filter(wanted).collect();
        self
    }

    /// With every module that there is: for tests of all contracts.
    #[must_use]
    pub fn every_module(mut self) -> Self {
        self.modules = node::names().collect();
        self
    }

    /// So many processes of each kind on the same database and Redis.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Each module in a process of its own, linked over the network.
    #[must_use]
    pub fn split(mut self) -> Self {
        self.split = true;
        self
    }

    /// With a real Envoy in front.
    #[must_use]
    pub fn envoy(mut self) -> Self {
        self.envoy = true;
        self
    }

    /// With every replica in use: Envoy knows all of them, not the first alone, and each edge reaches auth as a service
    /// address of Kubernetes does: a connection goes to any replica that takes it.
    #[must_use]
    pub fn spread(mut self) -> Self {
        self.spread = true;
        self
    }

    /// With stand-ins for the third parties on the internet.
    #[must_use]
    pub fn stand_ins(mut self) -> Self {
        self.stand_ins = true;
        self
    }

    /// With a receiver of traces.
    #[must_use]
    pub fn otlp(mut self) -> Self {
        self.otlp = true;
        self
    }

    /// With a proxy that can misbehave.
    #[must_use]
    pub fn proxy(mut self, before: Before) -> Self {
        self.proxies.push(before);
        self
    }

    /// With limits that count every call: Redis is given time to answer, for it is never away.
    #[must_use]
    pub fn exact_limits(self) -> Self {
        self.setting("limit.redis_timeout_ms", 10_000_i64).setting("redis.response_timeout_ms", 10_000_i64)
    }

    /// With one setting changed, by its dotted key.
    #[must_use]
    pub fn setting(mut self, key: &str, value: impl Into<coreloop_config::Value>) -> Self {
        self.keys.push((key.to_owned(), value.into()));
        self
    }

    /// With settings changed, as TOML.
    #[must_use]
    pub fn toml(mut self, text: &str) -> Self {
        self.toml.push_str(text);
        self
    }

    /// With the keys of an issuer of the test's own among those that auth publishes.
    #[must_use]
    pub fn issuer(mut self, issuer: Arc<Issuer>) -> Self {
        self.issuer = Some(issuer);
        self
    }

    /// With events and commands carried by others than its Redis. The settings name them all the same.
    #[must_use]
    pub fn over(mut self, brokers: Brokers) -> Self {
        self.brokers = brokers;
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When a part does not start.
    pub async fn start(self) -> TestMesh {
        logs::keep();
        let clock = ManualClock::new();
        let base = self.base();
        let (db, redis) = tokio::join!(template::copy(&base), TestRedis::start());
        if let Some(issuer) = &self.issuer {
            roles::publish(&db, issuer).await;
        }
        let redis_proxy = self.before(Before::Redis, redis.address()).await;
        let postgres_proxy = self.before(Before::Postgres, db.server()).await;
        let stand_ins = if self.stand_ins { Some(StandIns::start().await) } else { None };
        let otlp = if self.otlp { Some(OtlpReceiver::start().await) } else { None };
        let modules = self.wanted();
        let ports: Vec<Ports> = (0..self.replicas.max(1)).map(|_| Ports::free(&modules)).collect();
        let auth_proxy = self.before(Before::Auth, format!("127.0.0.1:{}", ports[0].of("auth"))).await;

        let mut settings = base;
        settings = settings.with("database.url", address(&db, postgres_proxy.as_ref()));
        settings = settings.with(
            "redis.url",
            match &redis_proxy {
                Some(proxy) => format!("redis://{}", proxy.address()),
                None => redis.url(),
            },
        );
        if let Some(stand_ins) = &stand_ins {
            settings = settings.with_toml("stand-ins", &stand_ins.settings()).expect("settings of the stand-ins");
        }
        if let Some(otlp) = &otlp {
            settings = settings
                .with("otlp.endpoint", otlp.endpoint())
                .with_toml("traces", "[otlp]\nratio = 1.0\ntimeout_ms = 30000\n")
                .expect("a ratio");
        }
        settings = self.overrides(settings);

        let balancer = self.balancer(&ports).await;
        let auth = auth_proxy.as_ref().map(FaultProxy::port).or_else(|| balancer.as_ref().map(Balancer::port));
        let mut nodes = self.nodes(&settings, (&modules, &ports), auth, &clock);
        for node in &mut nodes {
            node.start().await;
        }
        let mut mesh = TestMesh {
            envoy: None,
            nodes,
            redis,
            db,
            clock,
            stand_ins,
            otlp,
            redis_proxy,
            postgres_proxy,
            auth_proxy,
            modules,
            _balancer: balancer,
        };
        if self.envoy {
            let known = if self.spread { ports.len() } else { 1 };
            mesh.envoy = Some(mesh.envoy_in_front(known).await);
        }
        mesh
    }

    fn wanted(&self) -> Vec<&'static str> {
        if self.modules.is_empty() { MODULES.to_vec() } else { self.modules.clone() }
    }

    fn base(&self) -> Settings {
        let server: url::Url = surroundings::database_url().parse().expect("an address");
        let mut settings = Settings::defaults()
            .with("mode", "local")
            .with("auth.master_key", MASTER_KEY)
            .with("auth.mesh_secret", MESH_SECRET)
            // Two cores run every test at once: everything may answer later than anywhere else and is not away. Hashes, which
            // run only where nothing else does, come last of all.
            .with("server.peer_connect_timeout_ms", 10_000_i64)
            .with("gateway.deadline_secs", 28_i64)
            .with("server.default_deadline_ms", 28_000_i64)
            // A connection whose task is not run for that long is closed with all its calls, though the answer to its ping is here.
            .with("server.keepalive_timeout_ms", 8_000_i64)
            // Meshes that tests share stay to the end of the run; what they do not use, others need.
            .with("database.idle_timeout_secs", 10_i64)
            .with("database.acquire_timeout_ms", 20_000_i64)
            .with("database.lock_timeout_ms", 20_000_i64)
            .with("database.statement_timeout_ms", 20_000_i64)
            .with("limit.redis_timeout_ms", 500_i64)
            .with("access.ask_timeout_ms", 500_i64)
            // Who asks a neighbour or storage does without them for the neighbour's sake, not the machine's.
            .with("character.database_timeout_ms", 20_000_i64)
            .with("chat.neighbour_timeout_ms", 10_000_i64)
            .with("image.s3_timeout_ms", 20_000_i64)
            .with("my.part_timeout_ms", 10_000_i64)
            .with("realtime.part_timeout_ms", 10_000_i64);
        if let Some(password) = server.password() {
            settings = settings.with("database.password", password);
        }
        settings
    }

    fn overrides(&self, settings: Settings) -> Settings {
        let settings = settings.with_toml("test", &self.toml).unwrap_or_else(|error| panic!("settings: {error}"));
        self.keys.iter().fold(settings, |settings, (key, value)| settings.with(key, value.clone()))
    }

    async fn before(&self, what: Before, target: String) -> Option<FaultProxy> {
        if self.proxies.contains(&what) { Some(FaultProxy::before(target).await) } else { None }
    }

    async fn balancer(&self, ports: &[Ports]) -> Option<Balancer> {
        match self.spread {
            true => Some(Balancer::before(ports.iter().map(|ports| ports.of("auth")).collect()).await),
            false => None,
        }
    }

    fn nodes(
        &self,
        base: &Settings,
        (modules, ports): (&[&'static str], &[Ports]),
        auth: Option<u16>,
        clock: &ManualClock,
    ) -> Vec<Node> {
        let mut nodes = Vec::new();
        for (replica, ports) in ports.iter().enumerate() {
            let settings = ports.set(base);
            if !self.split {
                nodes.push(self.node(replica, modules, settings, clock));
                continue;
            }
            let auth = auth.filter(|_| replica == 0 || self.spread);
            for module in modules {
                let peers = ports.grpc.iter().filter(|(peer, _)| peer != module);
                let settings = peers.fold(settings.clone(), |settings, (peer, port)| {
                    let port = auth.filter(|_| *peer == "auth").unwrap_or(*port);
                    settings.with(&format!("peers.{peer}"), format!("http://127.0.0.1:{port}"))
                });
                nodes.push(self.node(replica, &[module], settings, clock));
            }
        }
        nodes
    }

    fn node(&self, replica: usize, modules: &[&'static str], settings: Settings, clock: &ManualClock) -> Node {
        Node::new(replica, modules, settings, clock.clone()).over(self.brokers.clone())
    }
}

impl Ports {
    fn free(modules: &[&'static str]) -> Self {
        Self { grpc: modules.iter().map(|module| (*module, port::free())).collect(), gateway: port::free() }
    }

    fn of(&self, module: &str) -> u16 {
        self.grpc.iter().find(|(name, _)| *name == module).expect("a module").1
    }

    fn set(&self, settings: &Settings) -> Settings {
        let settings = settings.with("server.ports.gateway", i64::from(self.gateway));
        self.grpc.iter().fold(settings, |settings, (module, port)| {
            settings.with(&format!("server.ports.{module}"), i64::from(*port))
        })
    }
}

fn address(db: &TestDb, proxy: Option<&FaultProxy>) -> String {
    proxy.map_or_else(|| db.url(), |proxy| db.url_at(proxy.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_in_their_order_with_auth_and_the_edge() {
        assert_eq!(
            Builder::default().modules(&["wallet", "shop", "wallet"]).modules,
            ["auth", "shop", "wallet", "edge"]
        );
    }

    #[test]
    #[should_panic(expected = "there is no module walet, there are auth, ")]
    fn a_module_that_there_is_not_is_named() {
        let _panics = Builder::default().modules(&["wallet", "walet"]);
    }
}
