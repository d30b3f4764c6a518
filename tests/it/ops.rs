//! Looking after the mesh (chapter 08): dead letters, the audit, what must hold, and the same from the command line.

mod acts;
mod alerts;
mod audit;
pub mod away;
pub mod cli;
mod integrity;
mod letters;
mod replay;
