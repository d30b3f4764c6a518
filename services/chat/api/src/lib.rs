//! Contract of the chat service: stubs and reasons.
//!
//! Written by `cargo xtask codegen` from `proto/`; nothing else lives here.

/// The chat service, version 1.
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
    include!("gen/coreloop.chat.v1.rs");
}
