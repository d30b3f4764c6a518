//! Money through the wire, on the real Postgres: it is conserved, a key is one act, nobody owes, and what was changed behind
//! its back is found.

mod away;
mod cutting;
mod holding;
mod killing;
mod many;
mod moving;
mod promises;
mod reading;
mod refusing;
pub mod stage;
mod tampering;
mod telling;
mod wrong;
