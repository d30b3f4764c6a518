//! What people and the model say to each other: kept, answered once and in order, told piece by piece, whatever fails on the way
//! (chapter 02).

mod around;
mod asking;
mod away;
mod failing;
mod interrupted;
mod leaving;
mod limits;
mod refusing;
pub mod stage;
mod streaming;
mod travelling;
