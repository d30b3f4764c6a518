//! All SQL of the service. Functions are free, the executor comes first; `&mut PgConnection` joins a transaction.
//!
//! Whoever changes something of a user takes the row of `owners` first, then those of `images`, then those of `places`. When a command
//! was sent is noted without the owner's row, on rows that nobody holds.

pub mod images;
pub mod integrity;
pub mod owners;
pub mod places;
pub mod unprocessed;
