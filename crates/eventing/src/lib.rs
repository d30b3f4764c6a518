//! Facts on their way: outbox, relay, bus, consumers; and work to be done: commands (chapter 06).
//!
//! A service changes its state and writes what happened into its [`Outbox`] in one transaction; the [`Relay`] carries it
//! to the [`bus::Bus`] after the commit; a [`Consumer`] of another service gives it an effect in a transaction of its own.
//! Delivery is at least once, the effect exactly once, and the order of a key is kept on the whole way. Commands
//! ([`Commands`], [`Consumer::working`]) share the far half of that way: claim, order, tries, dead letters. Who must call
//! others for the effect of an event passes it on ([`Consumer::passing`]), at least once.
//!
//! Four decisions shape it.
//! - **The relay reads by number and remembers holes** (`relay/cursor.rs`). Numbers are given at write and rows seen at
//!   commit, so the highest number is no place to go on from. Rejected: reading only below the oldest running transaction,
//!   because one long transaction anywhere in the database would hold up every event; claiming rows with SKIP LOCKED and
//!   deleting them, because it holds a transaction open over a call to the broker and scans dead rows again and again.
//! - **One leader an outbox and one reader a group**, by a lease, and fenced by the broker itself: order needs one hand at
//!   a time, and a replica that only believes to hold the lease must be harmless.
//! - **The broker is not believed to be lasting.** It is told how much it has been told; when it knows less, the relay
//!   publishes again what it has forgotten, from rows that stay for an hour.
//! - **What fails is set aside in the consumer's database**, with what follows of its key, not in the broker: so holding a
//!   key back, trying it again and its effect are one transaction, on every transport.
//!
//! A service that writes or hears events has the tables of `tables.sql` in its migrations.

mod brokers;
pub mod bus;
mod command;
mod consumer;
mod dead;
mod error;
mod event;
mod failure;
mod metrics;
mod options;
mod outbox;
mod parts;
mod redis;
mod relay;
mod store;
mod topic;

pub use brokers::Brokers;
pub use command::{Command, CommandBus, CommandHandler, Commands, Queue, SendError};
pub use consumer::{Consumer, Handler, PassingHandler};
pub use dead::{DeadLetter, DeadLetters, Depth, Filter};
pub use error::Error;
pub use event::{Encoding, Event};
pub use failure::Failure;
pub use metrics::Metrics;
pub use options::{CommandBroker, Elsewhere, EventBroker, Options};
pub use outbox::{Facts, MAX_COMMAND_BYTES, MAX_PAYLOAD_BYTES, Outbox};
pub use parts::Parts;
pub use redis::RedisBus;
pub use relay::Relay;
pub use topic::Topic;
