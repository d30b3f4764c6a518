//! All SQL of the service. Functions are free, the executor comes first; `&mut PgConnection` joins a transaction.

pub mod audits;
pub mod events;
pub mod guards;
pub mod keys;
pub mod revocations;
pub mod sessions;
pub mod users;
