//! Contract of the service of what users have come to: stubs and reasons.
//!
//! Written by `cargo xtask codegen` from `proto/`; nothing else lives here.

/// What users have come to, version 1.
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
    include!("gen/coreloop.my.v1.rs");
}
