//! Money: what users have, and how it moves (chapter 03).
//!
//! **What it owns.** The schema `wallet`: accounts, postings, entries, lots that expire, holds. Nobody else reads it.
//!
//! **What it promises.**
//! * *Value is neither made nor lost.* Every posting takes as much as it gives, in each currency; the database refuses a
//!   statement whose entries do not add up, or after which an account does not say what its entries say.
//! * *Nobody owes.* A user's account is never below zero: a rule ([`decide`]) that the database holds too.
//! * *A key is one act.* The id of a posting is made of its caller and key ([`order`]), so the primary key decides between
//!   two replicas; the answer is kept beside it, for ever.
//! * *What was written stays.* Entries and postings are append-only and chained by hashes ([`chain`]); [`integrity`]
//!   recomputes all of it and names the first line that does not fit.
//! * *Nobody waits for the house.* Its accounts are sixteen rows each; a lane of a process uses its own.
//! * *A busy wallet costs less per act, not more.* What waits together is one transaction ([`commit`]).
//!
//! **What was rejected.** A statement per purchase (six trips and a flush each); the decision in PL/pgSQL (its rules cannot
//! be tested without a database, and Postgres is the part that cannot be multiplied); balances computed from entries (a
//! read would cost the whole history); a table of idempotency keys beside the postings (one more index on the hot path for
//! what the primary key can say); a row lock on holds (they change under their owner's lock); an index of entries by time
//! (times of an account never go back, so its primary key is one).

pub mod acts;
pub mod app;
pub mod books;
pub mod chain;
pub mod commit;
pub mod decide;
pub mod error;
pub mod funds;
pub mod grpc;
pub mod integrity;
pub mod metrics;
pub mod module;
pub mod options;
pub mod order;
pub mod store;
pub mod worker;

pub use app::App;
pub use error::Error;
pub use module::{MIGRATIONS, module};
pub use options::Options;
