//! The ops service: what the mesh could not do by itself, and who looked after it (chapter 08). First part: dead letters
//! (chapter 06, item 4).
//!
//! **What it owns.** The audit of what administrators asked of it, in the schema `ops`.
//!
//! **What it promises.** Nothing is done to a dead letter before a row says who asked for it; an administrator can do
//! through ops what the service whose letters they are lets them do, and no more (`tests/it/ops.rs`).
//!
//! **How it reaches dead letters.** They lie in the schema of the service that could not handle them, because setting an
//! event aside, trying it again and its effect are one transaction there. So ops asks that service: each that hears events
//! serves `coreloop.ops.v1.DeadLetterService` over its own tables (`coreloop_ops_api::host`), and ops passes the
//! administrator's own token on. The same gate decides in both, so ops needs no standing of its own that could be abused,
//! and a service reached past ops is as closed.
//!
//! **What was rejected.** Reading the services' schemas: nobody else may, and a role that could would be the way around
//! every other rule. A stream of dead letters into a table of ops: the letter would be in two places that must agree, what
//! it says of people would be copied, and a decision would travel back as an event that can itself die. An internal token
//! for ops: the service would have to believe who the administrator is.

pub mod app;
pub mod audit;
pub mod chain;
pub mod checks;
pub mod error;
pub mod grpc;
pub mod integrity;
pub mod metrics;
pub mod module;
pub mod options;
pub mod peers;
pub mod queues;
pub mod runs;
pub mod store;
pub mod worker;

pub use app::App;
pub use error::Error;
pub use module::{MIGRATIONS, module};
pub use options::Options;
