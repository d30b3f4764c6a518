//! Who may call what, read from the descriptors. **There is no other list.**

pub mod contract;

use std::{collections::HashMap, sync::Arc};

use coreloop_transcode::{
    descriptor, options,
    pb::option::Access,
    router::{self, Match, Router},
};
use prost_reflect::DescriptorPool;

pub use coreloop_transcode::pb::option::Level;

/// The access option of one RPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcPolicy {
    /// gRPC path, as `/coreloop.auth.v1.AuthService/GetMe`. For a foreign service its prefix, as `/grpc.health.v1.Health/`.
    pub path: Arc<str>,
    /// The service that owns it (`auth`), the audience of internal tokens for it. Empty for a foreign service.
    pub target: Arc<str>,
    /// Least standing. `Unspecified` denies everybody.
    pub level: Level,
    /// Refused while revocations cannot be read.
    pub fresh: bool,
    /// Never admitted from outside the mesh.
    pub mesh_only: bool,
    /// Administrators are admitted beside the users of `level`. Never set where `level` is none of users.
    pub admins: bool,
    /// On an upgrade to a WebSocket the token may come with the first message: the edge admits such a request without one.
    /// Never set where no token is needed.
    pub late_token: bool,
}

impl RpcPolicy {
    fn new(path: String, target: &str, access: Option<Access>) -> Self {
        let access = access.unwrap_or_default();
        // A number that names no level is from a newer contract; it denies as a missing option does.
        let level = Level::try_from(access.level).unwrap_or(Level::Unspecified);
        Self {
            path: path.into(),
            target: target.into(),
            level,
            fresh: access.fresh,
            mesh_only: access.mesh_only,
            admins: access.admins && of_users(level),
            late_token: access.late_token && needs_token(level),
        }
    }
}

/// The descriptors cannot be read as a policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The REST bindings contradict each other.
    #[error("the REST bindings cannot be read: {0}")]
    Routes(String),
}

/// Where a request leads.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Rpc(Arc<RpcPolicy>),
    WrongMethod { allow: String },
    NotFound,
    BadEscape,
}

/// Every RPC's access, and the routes that lead to it.
pub struct Policy {
    rpcs: HashMap<Arc<str>, Arc<RpcPolicy>>,
    /// Access of foreign services, by full name.
    foreign: HashMap<Arc<str>, Arc<RpcPolicy>>,
    /// By the index of the route.
    routes: Vec<Option<Arc<RpcPolicy>>>,
    /// None is the committed router.
    router: Option<Box<Router>>,
}

impl Policy {
    /// The policy of the committed descriptors, over the router that the edge uses.
    ///
    /// # Errors
    /// Never for descriptors that pass the unit tests.
    pub fn committed() -> Result<Self, PolicyError> {
        Ok(Self::build(descriptor::pool(), None))
    }

    /// The policy of other descriptors, for tests.
    ///
    /// # Errors
    /// When their REST bindings contradict each other.
    pub fn of_pool(pool: &DescriptorPool) -> Result<Self, PolicyError> {
        let router = Router::new(pool).map_err(|errors| PolicyError::Routes(format!("{errors:?}")))?;
        Ok(Self::build(pool, Some(Box::new(router))))
    }

    fn build(pool: &DescriptorPool, router: Option<Box<Router>>) -> Self {
        let mut rpcs = HashMap::new();
        for service in pool.services().filter(|service| service.full_name().starts_with("coreloop.")) {
            let target = service.full_name().split('.').nth(1).unwrap_or_default().to_owned();
            for method in service.methods() {
                let path = format!("/{}/{}", service.full_name(), method.name());
                let rpc = Arc::new(RpcPolicy::new(path, &target, options::access(&method)));
                rpcs.insert(Arc::clone(&rpc.path), rpc);
            }
        }
        let foreign = options::foreign_access(pool)
            .into_iter()
            .map(|entry| {
                let rpc = Arc::new(RpcPolicy::new(format!("/{}/", entry.service), "", entry.access));
                (Arc::from(entry.service), rpc)
            })
            .collect();
        let routes = matcher(&router).routes().iter().map(|route| rpcs.get(route.rpc_path.as_str()).cloned()).collect();
        Self { rpcs, foreign, routes, router }
    }

    /// The access of a gRPC path, compared byte for byte; none for a path that no RPC has.
    #[must_use]
    pub fn rpc(&self, path: &str) -> Option<&Arc<RpcPolicy>> {
        self.rpcs.get(path).or_else(|| {
            let (service, method) = path.strip_prefix('/')?.split_once('/')?;
            let named = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphanumeric());
            self.foreign.get(service).filter(|_| named)
        })
    }

    /// Where a REST request leads, by the edge's own matcher.
    pub(crate) fn find(&self, method: &str, raw_path: &str) -> Place {
        match matcher(&self.router).find(method, raw_path) {
            Match::Found { route, .. } => match self.routes.get(route.index) {
                Some(Some(rpc)) => Place::Rpc(Arc::clone(rpc)),
                _ => Place::NotFound,
            },
            Match::WrongMethod { allow } => Place::WrongMethod { allow },
            Match::NotFound => Place::NotFound,
            Match::BadEscape => Place::BadEscape,
        }
    }

    /// Every RPC of our own packages, in no order.
    pub fn rpcs(&self) -> impl Iterator<Item = &Arc<RpcPolicy>> {
        self.rpcs.values()
    }

    /// Every foreign service that has a policy, in no order.
    pub fn foreign(&self) -> impl Iterator<Item = &Arc<RpcPolicy>> {
        self.foreign.values()
    }
}

/// Users are asked for, and none but users.
fn of_users(level: Level) -> bool {
    matches!(level, Level::Standard | Level::Premium | Level::Vip)
}

/// Nobody is admitted without a token, and who may come from outside the mesh.
fn needs_token(level: Level) -> bool {
    of_users(level) || level == Level::Admin
}

/// The own router, else the committed one.
fn matcher(own: &Option<Box<Router>>) -> &Router {
    match own {
        Some(own) => own,
        None => router::router(),
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("rpcs", &self.rpcs.len()).field("foreign", &self.foreign.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn administrators_are_let_in_beside_users_and_nowhere_else() {
        let levels = (0..).map_while(|number| Level::try_from(number).ok());
        let admits = |level: Level, admins| {
            let access = Access { level: level.into(), admins, ..Access::default() };
            RpcPolicy::new(String::new(), "", Some(access)).admins
        };
        assert!(levels.clone().all(|level| !admits(level, false)));
        let let_in: Vec<Level> = levels.filter(|level| admits(*level, true)).collect();
        assert_eq!(let_in, [Level::Standard, Level::Premium, Level::Vip]);
        assert!(!RpcPolicy::new(String::new(), "", None).admins);
    }

    #[test]
    fn a_token_may_come_late_only_where_one_must_come() {
        let levels = (0..).map_while(|number| Level::try_from(number).ok());
        let late = |level: Level| {
            let access = Access { level: level.into(), late_token: true, ..Access::default() };
            RpcPolicy::new(String::new(), "", Some(access)).late_token
        };
        let late: Vec<Level> = levels.filter(|level| late(*level)).collect();
        assert_eq!(late, [Level::Standard, Level::Premium, Level::Vip, Level::Admin]);
    }
}
