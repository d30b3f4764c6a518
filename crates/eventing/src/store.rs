//! All SQL of the crate. The schema is the service's own, so statements are put together once, from a checked name.

pub(crate) mod dead;
mod envelope;
pub(crate) mod inbox;
pub(crate) mod outbox;
pub(crate) mod relay;
