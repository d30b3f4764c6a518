//! Rewards through the wire, on the real parts: what is promised is given once, whatever is killed in between, and it is known
//! to whom, by whom and why.

mod away;
mod brokers;
mod cancelling;
mod clicking;
mod distributing;
mod failing;
mod granting;
mod integrity;
mod interrupted;
mod redeeming;
mod sealing;
pub mod stage;
