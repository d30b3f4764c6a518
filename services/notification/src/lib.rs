//! Notifications: what people are told, and what is pushed to their devices (chapter 02).
//!
//! **What it owns.** The schema `notification`: the inbox of each user, how they want to be told, their devices, what is to be pushed to
//! which; and the history of each notification.
//!
//! **What it promises.**
//! * *What happened is told once* ([`telling`]): the inbox row carries the id of the event that it tells of, which is unique; the row,
//!   its history, the fact and the pushes are one transaction.
//! * *The facts of one user are in order.* Whoever tells, reads or forgets has locked the user's row in `people`.
//! * *A push is due with the row that it tells of* ([`pushing`]): a row of `pushes`, and a command in the same transaction. Quiet hours
//!   ([`quiet`]) make it wait; the inbox never waits. It is looked at again when it is sent: what was read meanwhile, switched off, or is
//!   of a device that is gone, is not pushed.
//! * *A device's token is the gateway's and nobody else's* ([`vault`]): sealed before it is written, bound to its device, in no event,
//!   fact, command or log. Of a phone that changes hands the token goes to the new hands, and the old owner's notifications do not.
//! * *A text is written when it is read* ([`text`]), in the language of who reads; no text names anybody else.
//! * *Who leaves leaves nothing* ([`hearing`]): inbox, devices, pushes and preferences are deleted; histories have ids and kinds alone.
//!
//! **What was rejected.** A push straight from the consumer (it would call others in a transaction); a gateway that is away as a reason to
//! hold back the inbox; one command for all devices of a user (one dead token would push to the others again); the text of a
//! notification in the table (it would stay in the language of that day) or in its history (which cannot be deleted); asking auth for a
//! language at each event; a digest at the end of quiet hours (nobody has asked for one).

pub mod app;
pub mod error;
pub mod fcm;
pub mod grpc;
pub mod hearing;
pub mod history;
pub mod integrity;
pub mod metrics;
pub mod module;
pub mod oauth;
pub mod options;
pub mod origin;
pub mod preferences;
pub mod pushing;
pub mod quiet;
pub mod reading;
pub mod store;
pub mod sweeping;
pub mod telling;
pub mod text;
pub mod times;
pub mod vault;
pub mod wire;

pub use app::App;
pub use error::Error;
pub use module::{MIGRATIONS, module};
pub use options::Options;
