//! All SQL of the service. Functions are free, the executor comes first; `&mut PgConnection` joins a transaction.

pub mod admin_devices;
pub mod admins;
pub mod age;
pub mod audits;
pub mod events;
pub mod guards;
pub mod invites;
pub mod keys;
pub mod mails;
pub mod processed;
pub mod profiles;
pub mod resets;
pub mod revocations;
pub mod sessions;
pub mod social;
pub mod totp;
pub mod users;
pub mod withdrawals;
