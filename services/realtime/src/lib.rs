//! Realtime: what concerns a user reaches their sockets, on whichever replica they are (chapter 04).
//!
//! **What it owns.** Nothing that must last: the last messages of each user, their places and the channels, in Redis. Its schema
//! holds what any consumer keeps. What is true is with the services that say it.
//!
//! **What it promises.**
//! * *In order, none twice, and a gap is known.* One script an event ([`log`]) numbers, keeps and publishes; each message
//!   names the place before its own, so a socket that misses one reads the log, and begins anew where the log has it no more.
//! * *Any replica serves any user.* Each is subscribed to the channels of the users it has ([`hub::listen`]).
//! * *Who comes back misses nothing* for five minutes or two hundred messages: `since` is the last place that was seen.
//! * *Nothing grows.* What waits for a socket is bounded; what may be put together is, where that loses nothing
//!   ([`hub::queue`]); then the socket is closed and may resume. One slow socket costs no other.
//! * *It ends with the token*, as every stream does.
//!
//! **What was rejected.** A consumer in each replica (each would read everything for the few users it has); a message without the
//! place before (a lost one would show with the next but one could not tell lost from merged); a read of the log for each
//! message (the channel is there to save it); one queue for a user (the slow device would hold up the fast one).

pub mod app;
pub mod error;
pub mod facts;
pub mod grpc;
pub mod hub;
pub mod initial;
pub mod log;
pub mod message;
pub mod metrics;
pub mod module;
pub mod options;

pub use app::App;
pub use error::Error;
pub use module::{MIGRATIONS, module};
pub use options::Options;
