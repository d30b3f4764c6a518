//! Event-sourced aggregates over Postgres (chapter 06, item 7; promise M9): what happened is kept in order and for good, and
//! the state is what a fold makes of it.
//!
//! A domain says what an [`Aggregate`] is: its state, its [`Event`]s, and how an event changes the state. An [`EventStore`]
//! loads it, appends to its history, and tells its state at any version or instant. State tables stay beside it for
//! reads; history, state tables and outbox are written in one transaction, the caller's.
//!
//! Five decisions shape it.
//! - **The unique triple decides who was first**, never a look before the write. [`EventStore::append`] writes behind the
//!   very event that was last when the aggregate was loaded, not behind a number: an aggregate that was loaded in a
//!   transaction that was rolled back, or is otherwise not what the history says, is refused as one that is too old.
//! - **A conflict fails the statement**, and with it the transaction. Rejected: `on conflict do nothing`, because a
//!   caller that overlooks the answer would commit the rest of its work without its events.
//! - **Snapshots are a cache**, one every [`SNAPSHOT_EVERY`] events. Each carries the number of the fold that made it
//!   ([`Aggregate::SCHEMA`]), so a changed fold ignores those of the old one and writes its own; versions that run side by
//!   side do not disturb each other. One that cannot be read is ignored; [`EventStore::verify`] holds each to the history.
//! - **Old events are read, never rewritten.** Each keeps the version it was written in, and [`EventType::upcasts`] bring
//!   its payload up to now. An event of a version that is not known yet, or of an unknown type, is an error and not
//!   skipped: a state that is wrong without saying so is worse than none.
//! - **Time does not run backward in a history**: an event is never dated before the one it follows, whatever the clock of
//!   the replica that wrote it. So the state at an instant is the state at a version.
//!
//! Rejected: a table of streams with the head's version in it, a row that would be locked and written for every event
//! beside the event itself; events split over partitions by aggregate type, because the primary key is the event's id.
//!
//! The tables are in `templates/events.sql`; `cargo xtask new-events wallet` copies them into a migration of a domain.

mod aggregate;
mod error;
mod eventstore;
mod history;
mod store;

pub use aggregate::{Aggregate, Event, EventType, Upcast, message, payload};
pub use error::{BoxError, Error};
pub use eventstore::{At, EventStore, Recorded};
pub use history::Loaded;

/// A snapshot is made when so many events have come since the last.
pub const SNAPSHOT_EVERY: i64 = 100;

/// Largest payload of an event, as JSON: what the outbox takes too.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// The migration that makes `<schema>.events` and `<schema>.snapshots`.
///
/// # Errors
/// A schema that is no plain identifier.
pub fn migration(schema: &str) -> Result<String, Error> {
    Ok(include_str!("../templates/events.sql").replace("{{domain}}", coreloop_db::identifier(schema)?))
}
