//! All SQL of the service. Functions are free, the executor comes first; `&mut PgConnection` joins a transaction.

pub mod accounts;
pub mod batch;
pub mod due;
pub mod integrity;
pub mod postings;
