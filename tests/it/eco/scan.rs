//! What photos show: classified by the sandbox's model, which looks at the bytes, whatever fails on the way (chapter 02).

mod asking;
mod away;
mod failing;
mod interrupted;
mod looking;
mod rewarding;
pub mod stage;
mod workers;
