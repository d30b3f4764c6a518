//! All SQL of the service. Functions are free, the executor comes first; `&mut PgConnection` joins a transaction.

pub mod ads;
pub mod audit;
pub mod campaigns;
pub mod changes;
pub mod grants;
pub mod integrity;
pub mod inventory;
pub mod origin;
pub mod redemptions;
pub mod sealed;
