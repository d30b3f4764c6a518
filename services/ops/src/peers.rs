//! The services of the mesh, as ops asks them in its own name.
//!
//! What it asks is of the contract of ops, whoever serves it, and the gate of each service looks for a token that is meant for
//! the contract's owner: so one token of ops for ops is good everywhere.

use std::time::Duration;

use coreloop_auth_api::machine::Machine;
use coreloop_service::{Ctx, Link, Links};
use tonic::{Request, Status};

/// Longest time that a question of an administrator waits for one service.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Ops towards every service.
#[derive(Debug, Clone)]
pub struct Peers {
    links: Links,
    machine: Machine,
}

impl Peers {
    /// Nobody was asked yet.
    #[must_use]
    pub fn new(ctx: &Ctx) -> Self {
        Self { links: ctx.links.clone(), machine: Machine::of(ctx, "ops", "ops") }
    }

    /// A request in the name of ops.
    ///
    /// # Errors
    /// When auth does not give a token.
    pub async fn request<T>(&self, message: T) -> Result<Request<T>, Status> {
        self.machine.request(message).await
    }

    /// The way to `service`.
    #[must_use]
    pub fn link(&self, service: &str) -> Link {
        self.links.to(service)
    }
}
