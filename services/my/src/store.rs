//! All SQL of the service. Functions are free, the executor comes first; `&mut PgConnection` joins a transaction.
//!
//! Whoever changes something of a user locks the row of `people` first ([`people::lock`]); who looks at another's beside, in the order
//! of their ids ([`people::lock_beside`]).

pub mod badges;
pub mod follows;
pub mod footprints;
pub mod heard;
pub mod integrity;
pub mod people;
pub mod preferences;
pub mod profiles;
pub mod rebuilding;
pub mod streaks;
