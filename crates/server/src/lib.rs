//! Serves modules: listeners, layers, health, reflection, admin HTTP, telemetry, drain.
//!
//! Nothing here is global, so a test starts many servers in one process: [`Server::builder`] takes settings and modules,
//! [`Builder::start`] binds and hands back [`Running`]. Only the binary installs telemetry ([`Telemetry::init`]).

mod error;
mod running;
mod start;
mod telemetry;

pub use error::StartError;
pub use running::Running;
pub use start::{Builder, Server};
pub use telemetry::Telemetry;
