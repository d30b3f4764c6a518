//! The contract between a domain and whoever serves it.

use std::{fmt, sync::Arc};

use crate::{
    Ctx, Worker,
    local::{Local, Rpcs},
};
use futures::future::BoxFuture;

/// A domain. Its gRPC services are those of the proto packages `coreloop.<name>.…`.
pub trait Module: Send + 'static {
    /// Name of the domain, its schema, its role, its settings section and its target: `auth`.
    fn name(&self) -> &'static str;

    /// Migrations of its schema; none for a domain without a database.
    fn migrations(&self) -> Option<&'static sqlx::migrate::Migrator> {
        None
    }

    /// Peers that must be local or have an address before the process starts.
    fn requires(&self) -> &'static [&'static str] {
        &[]
    }

    /// Full names of the gRPC services it serves besides its own packages, as `envoy.service.auth.v3.Authorization`.
    fn foreign_services(&self) -> &'static [&'static str] {
        &[]
    }

    /// Builds the domain. Touches nothing outside `ctx`; runs no loop (hand back [`Worker`]s instead).
    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>>;
}

/// A domain could not be built: wrong settings, no database.
pub type BuildError = Box<dyn std::error::Error + Send + Sync>;

/// What a domain hands back.
#[derive(Default)]
pub struct Built {
    /// Its gRPC services, bare: the server puts the layers (trace, deadline, caller, access, limit, validation, metrics) around.
    pub rpcs: Rpcs,
    /// Plain HTTP, for the edge alone.
    pub http: Option<Local>,
    /// Loops it runs while the process serves.
    pub workers: Vec<Worker>,
    /// What it needs to be ready. Liveness never depends on these.
    pub checks: Vec<Check>,
}

impl fmt::Debug for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Built")
            .field("rpcs", &self.rpcs)
            .field("http", &self.http.is_some())
            .field("workers", &self.workers)
            .field("checks", &self.checks)
            .finish()
    }
}

/// Extension of a response of plain HTTP: the route that answered, as `/api/v1/auth/tokens/{jti}`, for metrics. A path as
/// sent would make a time series of every id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteName(pub Arc<str>);

/// A readiness check of one dependency.
#[derive(Clone)]
pub struct Check {
    /// Name of the part, as `auth/postgres`.
    pub name: String,
    probe: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

impl Check {
    /// A check that runs `probe`; the server bounds its time.
    pub fn new<F, Fut>(name: impl Into<String>, probe: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name: name.into(), probe: Arc::new(move || Box::pin(probe())) }
    }

    /// Looks once.
    ///
    /// # Errors
    /// Says what is wrong, for the log; the text is not sent to callers.
    pub async fn look(&self) -> Result<(), String> {
        (self.probe)().await
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish_non_exhaustive()
    }
}
