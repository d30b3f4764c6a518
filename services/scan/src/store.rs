//! All SQL of the service. Functions are free, the executor comes first; `&mut PgConnection` joins a transaction.

pub mod counts;
pub mod integrity;
pub mod tasks;
pub mod users;
pub mod waiting;
