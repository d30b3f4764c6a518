//! Characters: which there are, who has which, and what is still missing for the others (chapter 02).
//!
//! **What it owns.** The schema `character`: the catalogue, the history of each collection and what it came to, what is counted
//! for those that are locked; in Redis `char:ownership:{user}`, `char:ranking:{week}` and `char:detail:{code}`, which can be
//! made anew at any time ([`rebuilding`]).
//!
//! **What it promises.**
//! * *A collection is what happened to it.* State rows, history and facts are one transaction, under the lock of the collection's
//!   row ([`changing`]); what was had at any time can be told.
//! * *Nobody has a character twice, or more than they may.* The rule ([`rules`]) sees the history under that lock, and
//!   the primary key of `ownership` is there should it be wrong.
//! * *An event of another is one decision, for ever* ([`granting`]): given or refused, and told either way.
//! * *What is read after a write shows it.* A view in Redis counts when it is as new as the database says ([`mine`]); where
//!   the database is away it is shown for what it is.
//! * *A view never goes back.* It carries the number of the event that it was made after, and takes no older one's place;
//!   a rebuild begins a new generation, so that even what was ahead of the books is replaced ([`views`]).
//! * *A closed account stays closed*: its collection ends with an event, and what is heard late finds that.
//!
//! **What was rejected.** Counting in the history (an event for each scan would be most of it, and tells nothing about
//! ownership); the day's streak as `my` tells it (both count the same facts, and a character would wait for another's word);
//! views that the writer updates after its commit (killed in between they stay old for ever); increments in the ranking (what is
//! heard twice counts twice; a score is set, not added); a library for JSON Schema ([`schema`] says why).

pub mod acts;
pub mod app;
pub mod catalogue;
pub mod changing;
pub mod collection;
pub mod condition;
pub mod error;
pub mod granting;
pub mod grpc;
pub mod hearing;
pub mod integrity;
pub mod metrics;
pub mod mine;
pub mod module;
pub mod options;
pub mod projecting;
pub mod rebuilding;
pub mod rules;
pub mod schema;
pub mod store;
pub mod times;
pub mod views;
pub mod week;
pub mod worker;

pub use app::App;
pub use error::Error;
pub use module::{MIGRATIONS, module};
pub use options::Options;
