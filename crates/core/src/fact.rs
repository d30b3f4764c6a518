//! Facts: messages that say what has happened.

/// A message that travels as an event (chapter 06). `cargo xtask codegen` implements it for every message of
/// `proto/coreloop/event/v1`.
pub trait Fact: prost::Message + Default {
    /// Full name of the message, as `coreloop.event.v1.AuthUserRegistered`.
    const TYPE: &'static str;
}
