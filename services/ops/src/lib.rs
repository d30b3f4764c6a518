//! The ops service: what the mesh could not do by itself, what must hold, and who looked after it (chapter 08; dead letters:
//! chapter 06, item 4).
//!
//! **What it owns.** In the schema `ops`: the audit of what administrators asked of it, and the runs of its jobs.
//!
//! **What it promises.** Nothing is done before a row says who asked for it; an administrator can do through ops what the
//! service whose letters they are lets them do, and no more; whoever tampers with the audit shows ([`integrity`]); a check
//! runs once at a time, and ends ([`runs`]). All of it in `tests/it/ops`.
//!
//! **How it reaches dead letters.** They lie in the schema of the service that could not handle them, because setting an
//! event aside, trying it again and its effect are one transaction there. So ops asks that service: each that hears events
//! serves `coreloop.ops.v1.DeadLetterService` over its own tables (`coreloop_ops_api::host`), and ops passes the
//! administrator's own token on. The same gate decides in both, so ops needs no standing of its own that could be abused,
//! and a service reached past ops is as closed.
//!
//! **How it knows what holds.** Only a service can read its own tables, so each that has something of value says what it can
//! recompute (`coreloop_ops_api::integrity`), and ops asks it, as a service: that is no administrator's doing even when one
//! asked for it. The answer is a stream that says every few seconds that the check goes on, because no deadline fits both
//! ten rows and a hundred million.
//!
//! **What was rejected.** Reading the services' schemas: nobody else may, and a role that could would be the way around
//! every other rule. A stream of dead letters into a table of ops: the letter would be in two places that must agree, what
//! it says of people would be copied, and a decision would travel back as an event that can itself die. An internal token
//! for what administrators do to letters: the service would have to believe who they are. The chain of the audit computed
//! by the service: a second writer, as the command line is one, could forget it.

pub mod acts;
pub mod alerts;
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
