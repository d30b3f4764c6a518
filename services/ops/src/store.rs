//! All SQL of the service.

pub mod audits;
pub mod runs;
