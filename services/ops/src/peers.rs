//! The services of the mesh, as ops asks them in its own name.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use coreloop_auth_api::machine::Machine;
use coreloop_service::Ctx;

/// Longest time that a question of an administrator waits for one service.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Ops towards each service; made when it is first asked.
pub struct Peers {
    ctx: Ctx,
    machines: Mutex<HashMap<String, Machine>>,
}

impl Peers {
    /// Nobody was asked yet.
    #[must_use]
    pub fn new(ctx: Ctx) -> Self {
        Self { ctx, machines: Mutex::default() }
    }

    /// Ops towards `service`.
    #[must_use]
    pub fn of(&self, service: &str) -> Machine {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        machines.entry(service.to_owned()).or_insert_with(|| Machine::of(&self.ctx, "ops", service)).clone()
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}
