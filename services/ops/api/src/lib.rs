//! Contract of the ops service: stubs and reasons, written by `cargo xtask codegen` from `proto/`.
//!
//! Beside them, what services serve to ops and is the same everywhere, so it lives with its contract: [`host`], the dead
//! letters of a service that hears events, and [`integrity`], what a service can recompute of its own.

pub mod host;
pub mod integrity;

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
