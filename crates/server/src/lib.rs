//! Serves modules: listeners, layers, health, reflection, admin HTTP, telemetry, drain.
//!
//! Nothing here is global, so a test starts many servers in one process: [`Server::builder`] takes settings and modules,
//! [`Builder::start`] binds and hands back [`Running`]. Each module's gRPC gets one pipeline of layers by RPC name (see
//! `pipeline.rs`), which answers its listener and its slot in the link table alike, so that a call in memory is decided,
//! limited and validated as one from the network is. Start is one straight line (`start.rs`), stop is its reverse with a
//! drain deadline (`running.rs`).
//!
//! Own rather than `tonic::transport::Server`: its accept loop cannot be cut for a test of a killed process, and its
//! stack boxes every request several times. Only the binary installs telemetry ([`Telemetry::init`]).

mod admin;
mod admission;
mod assembly;
mod bodies;
mod edge;
mod error;
mod health;
mod keys;
mod listen;
mod log;
mod log_thread;
mod open_stream;
mod opening;
mod options;
mod otlp;
mod peers;
mod pipeline;
mod plan;
mod ports;
mod readiness;
mod red;
mod reflection;
mod reply;
mod rules;
mod running;
mod spans;
mod start;
mod storage;
mod telemetry;
mod upgrading;
mod within;
mod workers;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests;

pub use error::StartError;
pub use log::{Lines, Sink};
pub use options::{LogFormat, LogOptions, OtlpOptions, ProcessOptions, RedisOptions, ServerOptions};
pub use running::Running;
pub use start::{Builder, Server};
pub use telemetry::Telemetry;
