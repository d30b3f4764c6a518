//! What a domain may ask for.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use coreloop_access::{Cors, Gate, address::TrustedProxies};
use coreloop_config::{Section, Settings};
use coreloop_core::{Clock, Ids};
use coreloop_limit::Limiter;
use prometheus_client::registry::Registry;
use redis::aio::ConnectionManager;
use secrecy::SecretString;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{BuildError, Links, Readiness, Spans};

/// Where the process runs. Insecure development defaults refuse to start in [`Mode::Production`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A developer's machine or a test: seeded data, sandbox providers, keys made on the spot.
    Local,
    /// Anywhere else. The default: security is closed unless asked otherwise.
    #[default]
    Production,
}

/// The mesh secret of local mode. Public knowledge, and refused in production.
pub const LOCAL_MESH_SECRET: &str = "coreloop-local-mesh";

/// Everything a domain is given. Cheap to clone.
#[derive(Clone)]
pub struct Ctx {
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Where the process runs.
    pub mode: Mode,
    /// The domain's own section of the settings, read by its options.
    pub settings: Section,
    /// The domain's own database: its role, its schema, its share of connections.
    pub db: Option<PgPool>,
    /// Redis, reconnecting.
    pub redis: Option<ConnectionManager>,
    /// Where Redis is, for what needs a connection of its own (channels).
    pub redis_client: Option<redis::Client>,
    /// Peers.
    pub links: Links,
    /// What the services of the mesh prove themselves with (`auth.mesh_secret`); none where no service calls another as itself.
    pub mesh_secret: Option<SecretString>,
    /// Token verification and policy, shared by the process.
    pub gate: Arc<Gate>,
    /// How often clients may call, shared by the process. The layers count every call that reaches an RPC.
    pub limiter: Arc<Limiter>,
    /// Whose word about a client's address is believed.
    pub trusted: TrustedProxies,
    /// Calls of the domain that may run at once; what it queues for longer than a moment is to be much less.
    pub max_in_flight: usize,
    /// Which web pages may read an answer.
    pub cors: Cors,
    /// Where metrics are registered.
    pub metrics: Metrics,
    /// Where finished work is exported to, if anywhere: what handles events adds its spans. Calls have theirs already.
    pub spans: Option<Arc<dyn Spans>>,
    /// What the readiness checks of this process last said.
    pub readiness: Readiness,
    /// Cancelled when the process drains.
    pub stopping: CancellationToken,
    /// The settings of the process, for what all domains share.
    pub process: Settings,
    /// What the binary has put in for rooms above this one, by type.
    pub extensions: http::Extensions,
}

impl Ctx {
    /// The database, for a domain that has migrations.
    ///
    /// # Errors
    /// When the process was started without one.
    pub fn require_db(&self) -> Result<PgPool, BuildError> {
        self.db.clone().ok_or_else(|| "no database is configured (database.url)".into())
    }

    /// Redis, for a domain that cannot do without.
    ///
    /// # Errors
    /// When the process was started without one.
    pub fn require_redis(&self) -> Result<ConnectionManager, BuildError> {
        self.redis.clone().ok_or_else(|| "no Redis is configured (redis.url)".into())
    }
}

/// The process's metrics registry (Prometheus); clones share it.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    registry: Registry,
    shared: HashMap<TypeId, Box<dyn Any + Send>>,
}

impl Metrics {
    /// The text that Prometheus reads (OpenMetrics).
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail; what a collector could not write is left out.
        let _complete = self.with(|registry| prometheus_client::encoding::text::encode(&mut text, registry));
        text
    }

    /// Registers or encodes under the lock; keep it short.
    pub fn with<T>(&self, act: impl FnOnce(&mut Registry) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).registry)
    }

    /// The metrics `T` of this process, which `register` makes and registers the first time. For families that several
    /// modules of a process count in, told apart by a label: a name may stand in the text once only.
    pub fn shared<T: Clone + Send + 'static>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.shared.get(&TypeId::of::<T>()).and_then(|known| known.downcast_ref::<T>()) {
            return known.clone();
        }
        let made = register(&mut kept.registry);
        kept.shared.insert(TypeId::of::<T>(), Box::new(made.clone()));
        made
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn a_family_of_several_modules_is_registered_once() {
        let metrics = Metrics::default();
        for _ in 0..2 {
            let counter = metrics.clone().shared(|registry| {
                let counter = Counter::<u64>::default();
                registry.register("things", "Things", counter.clone());
                counter
            });
            counter.inc();
        }
        let text = metrics.encode();
        assert_eq!(text.matches("# TYPE things counter").count(), 1, "{text}");
        assert!(text.contains("things_total 2"), "{text}");
    }
}
