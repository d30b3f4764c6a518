//! Contract of the ops service: stubs and reasons, written by `cargo xtask codegen` from `proto/`.
//!
//! Beside them, [`host`]: the `DeadLetterService` is served by every service that hears events, over its own tables, and is
//! the same everywhere; so it lives with its contract.

pub mod host;

/// The ops service, version 1.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
#[rustfmt::skip]
pub mod v1 {
    include!("gen/coreloop.ops.v1.rs");
}
