//! All SQL of the service. Functions are free, the executor comes first; `&mut PgConnection` joins a transaction.

pub mod devices;
pub mod inbox;
pub mod integrity;
pub mod people;
pub mod pushes;
