//! Postgres: pools, migrations, transactions, coalesced reads, constraint names, leases.
//!
//! Each service has its own role, its own schema and its own share of connections in one database, so that no service
//! can read another's tables even by mistake. Decisions that must happen once are the database's: a named constraint
//! ([`violation`]) or a locked row, never check-then-act. A statement does not start after its caller's deadline
//! ([`deadline`]): the server's layer stops polling the handler, and [`begin`] refuses. Rejected: repository traits and
//! an ORM, because the SQL of a money path has to be visible.

mod coalesce;
pub mod deadline;
mod error;
mod gauge;
mod grouped;
mod growth;
pub mod lease;
mod migrate;
mod options;
mod pool;
mod transaction;

pub use coalesce::Coalesced;
pub use error::{ConstraintKind, ConstraintViolation, DbError, is_transient, problem, violation};
pub use gauge::PoolGauge;
pub use grouped::{AMPLE, GroupError, Grouped, Limits, PATIENCE};
pub use growth::Growth;
pub use migrate::{bootstrap, identifier, migrate};
pub use options::Options;
pub use pool::{check, connect, connect_options};
pub use transaction::{Transaction, begin};
