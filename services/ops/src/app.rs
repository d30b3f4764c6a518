//! What every handler works with.

use std::sync::Arc;

use coreloop_core::{Clock, Ids};
use coreloop_ops_api::{
    host::refused,
    v1::{OpsReason, dead_letter_service_client::DeadLetterServiceClient},
};
use coreloop_service::{Link, Links};
use sqlx::PgPool;

use crate::Error;

/// The running service.
pub struct App {
    /// The service's own database: its role, its schema.
    pub db: PgPool,
    /// Peers.
    pub links: Links,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
}

impl App {
    /// The dead letters of the service whose queue it is.
    ///
    /// # Errors
    /// `QUEUE_UNKNOWN` when this mesh has no such service.
    pub fn letters_of(&self, queue: &str) -> Result<DeadLetterServiceClient<Link>, Error> {
        let domain = queue.split('.').next().unwrap_or_default();
        if !self.links.knows(domain) {
            return Err(refused(OpsReason::QueueUnknown, "no service of this mesh has such a queue").into());
        }
        Ok(DeadLetterServiceClient::new(self.links.to(domain)))
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("links", &self.links).finish_non_exhaustive()
    }
}
