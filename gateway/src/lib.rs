//! The REST edge.

/// Generated stubs of `coreloop.edge.v1`. Written by `cargo xtask codegen`; not edited.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, reason = "generated")]
#[rustfmt::skip]
pub mod pb {
    include!("gen/coreloop.edge.v1.rs");
}
