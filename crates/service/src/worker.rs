//! Loops that a domain runs while the process serves.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// A named loop. It ends soon after its token is cancelled; the server starts it again, with backoff, should it end or
/// panic before.
#[derive(Clone)]
pub struct Worker {
    /// Name, as `auth.audit`.
    pub name: String,
    run: Arc<dyn Fn(CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>,
}

impl Worker {
    /// A worker that runs `run`.
    pub fn new<F, Fut>(name: impl Into<String>, run: F) -> Self
    where
        F: Fn(CancellationToken) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self { name: name.into(), run: Arc::new(move |stop| Box::pin(run(stop))) }
    }

    /// Runs it once, until it ends.
    pub async fn run(&self, stop: CancellationToken) {
        (self.run)(stop).await;
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("name", &self.name).finish_non_exhaustive()
    }
}
