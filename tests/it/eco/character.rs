//! Characters: earned by scans, given by campaigns and rewards, taken by their users; what is read is what happened (chapter 02).

mod administrating;
mod away;
mod catalogue;
mod closing;
mod evolving;
mod granting;
mod histories;
mod ranking;
mod rebuilding;
pub mod stage;
mod travelling;
mod unlocking;
