//! Aggregates made of their history, on the real Postgres: every way to a state leads to the same state (M9), one of two
//! writers wins, and what happened stays as it was written.

mod histories;
mod keeping;
mod purse;
mod reading;
mod writing;
