//! What the readiness checks of a process last said.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;

/// One part that readiness depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Name of the part, as `auth/postgres`.
    pub name: String,
    /// What is wrong, for the log and never for callers; none when the part answers.
    pub trouble: Option<String>,
}

impl Component {
    /// The part answers.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.trouble.is_none()
    }
}

/// Asks the process's readiness checks; their outcome is kept for half a second, so asking is cheap. Clones share it.
#[derive(Clone)]
pub struct Readiness {
    ask: Arc<dyn Fn() -> BoxFuture<'static, Vec<Component>> + Send + Sync>,
}

impl Readiness {
    /// Readiness that `ask` tells. The server makes the process's one.
    pub fn new<F, Fut>(ask: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<Component>> + Send + 'static,
    {
        Self { ask: Arc::new(move || Box::pin(ask())) }
    }

    /// Every part and whether it answers. The process is ready when all do.
    pub async fn components(&self) -> Vec<Component> {
        (self.ask)().await
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new(|| async { Vec::new() })
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").finish_non_exhaustive()
    }
}
