//! All SQL of the service. Functions are free, the executor comes first; `&mut PgConnection` joins a transaction.
//!
//! Whoever changes something of a user locks the row of `collections` first ([`collections::lock`]).

pub mod catalogue;
pub mod changes;
pub mod collections;
pub mod counters;
pub mod grants;
pub mod integrity;
pub mod ownership;
