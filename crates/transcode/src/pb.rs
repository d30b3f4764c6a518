//! Generated types of `coreloop.option.v1`. Written by `cargo xtask codegen`; not edited.

#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, reason = "generated")]
#[rustfmt::skip]
/// `coreloop.option.v1`.
pub mod option {
    include!("gen/coreloop.option.v1.rs");
}
