//! Parts that die, freeze, babble or come back empty: fail closed, heal fast (O1, O3, O5, O6).

mod authorization;
mod crowds;
mod deadlines;
mod healing;
mod hostile;
pub mod redis_away;
mod streams;
