//! All SQL of the service. Functions are free, the executor comes first; `&mut PgConnection` joins a transaction.
//!
//! Whoever changes something of a user takes the row of `owners` first, then those of `images`.

pub mod images;
pub mod owners;
