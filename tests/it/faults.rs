//! Parts that die, freeze, babble or come back empty: fail closed, heal fast (O1, O3, O5).

mod authorization;
mod healing;
mod redis_away;
mod streams;
