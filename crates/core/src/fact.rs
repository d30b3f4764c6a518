//! Facts: messages that say what has happened.

/// A message that travels as an event (chapter 06). `cargo xtask codegen` implements it for every message of a file
/// `…_event.proto`.
pub trait Fact: prost::Message + Default {
    /// Full name of the message, as `coreloop.auth.v1.UserRegistered`.
    const TYPE: &'static str;
}
