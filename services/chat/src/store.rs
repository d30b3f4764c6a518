//! All SQL of the service. Functions are free, the executor comes first; `&mut PgConnection` joins a transaction.

pub mod answers;
pub mod conversations;
pub mod messages;
pub mod usage;
pub mod users;
