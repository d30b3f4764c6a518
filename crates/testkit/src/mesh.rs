//! A mesh of our own modules for one test: database, Redis, processes of one or two topologies, Envoy, people.

mod builder;
mod front;
mod node;
mod template;

use coreloop_core::ManualClock;
use tonic::transport::Channel;

pub use builder::{Before, Builder};
pub use front::AUTHZ_TIMEOUT_MS;
pub use node::{MODULES, Node};

use crate::{
    Balancer, Envoy, FaultProxy, OtlpReceiver, Persona, Rest, TestDb, TestRedis, Visitor, rpc, stand_ins::StandIns,
};

/// Secret that machines of every test mesh prove themselves with.
pub const MESH_SECRET: &str = "mesh-secret-of-the-tests-0123456789";
/// Key that seals what every test mesh keeps.
pub const MASTER_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A running mesh. Everything it started ends with it.
#[derive(Debug)]
pub struct TestMesh {
    /// Envoy, where asked for. First, so that it is stopped first.
    pub envoy: Option<Envoy>,
    /// Its processes: a replica's modules in one ([`Builder::split`] off) or each in its own.
    pub nodes: Vec<Node>,
    /// Its Redis.
    pub redis: TestRedis,
    /// Its database.
    pub db: TestDb,
    /// Its clock, where asked for.
    pub clock: ManualClock,
    /// Third parties, where asked for.
    pub stand_ins: Option<StandIns>,
    /// Receiver of traces, where asked for.
    pub otlp: Option<OtlpReceiver>,
    /// Proxy before Redis, where asked for.
    pub redis_proxy: Option<FaultProxy>,
    /// Proxy before Postgres, where asked for.
    pub postgres_proxy: Option<FaultProxy>,
    /// Proxy before the gRPC port of the first auth, where asked for: the edge and Envoy reach auth through it.
    pub auth_proxy: Option<FaultProxy>,
    modules: Vec<&'static str>,
    _balancer: Option<Balancer>,
}

impl TestMesh {
    /// A mesh of one process without Envoy.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A mesh of another shape.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The modules that it was made with.
    #[must_use]
    pub fn modules(&self) -> &[&'static str] {
        &self.modules
    }

    /// Where people call: Envoy when there is one, else the first gateway.
    #[must_use]
    pub fn front(&self) -> String {
        self.envoy.as_ref().map_or_else(|| self.gateway_on(0), Envoy::url)
    }

    /// Address of the first gateway.
    #[must_use]
    pub fn gateway(&self) -> String {
        self.gateway_on(0)
    }

    /// Address of the gateway of a replica.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn gateway_on(&self, replica: usize) -> String {
        let address = self.node(replica, "edge").running().gateway_addr.expect("the node serves the edge");
        format!("http://{address}")
    }

    /// Address of the gRPC port of a module of a replica.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn address_on(&self, replica: usize, module: &str) -> String {
        format!("http://{}", self.node(replica, module).running().grpc_addrs[module])
    }

    /// A client of the front without a token.
    #[must_use]
    pub fn rest(&self) -> Rest {
        Rest::to(self.front())
    }

    /// A channel straight to a module, past Envoy and gateway, from an address of its own.
    #[must_use]
    pub fn grpc(&self, module: &str) -> Channel {
        self.grpc_on(0, module)
    }

    /// A channel straight to a module of a replica, from an address of its own.
    #[must_use]
    pub fn grpc_on(&self, replica: usize, module: &str) -> Channel {
        rpc::channel(&self.address_on(replica, module))
    }

    /// Somebody who is not signed in.
    #[must_use]
    pub fn visitor(&self, name: &str) -> Visitor {
        Visitor::new(name, &self.front())
    }

    /// Somebody who signs up and is signed in.
    pub async fn persona(&self, name: &str) -> Persona {
        self.visitor(name).sign_up().await
    }

    /// The process that serves `module` of a replica.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn node(&self, replica: usize, module: &str) -> &Node {
        self.nodes.iter().find(|node| node.serves(replica, module)).expect("the mesh has the node")
    }

    /// The process that serves `module` of a replica, to be stopped and started.
    ///
    /// # Panics
    /// When there is none.
    pub fn node_mut(&mut self, replica: usize, module: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.serves(replica, module)).expect("the mesh has the node")
    }
}
