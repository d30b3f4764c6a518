//! All SQL of the service. Functions are free, the executor comes first; `&mut PgConnection` joins a transaction.

pub mod favorites;
pub mod owners;
pub mod quota;
pub mod shops;
pub mod sites;
pub mod visits;
