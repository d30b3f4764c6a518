//! The eco app through the wire, on the real parts (chapter 02).

mod away;
pub mod character;
mod images;
mod leaving;
mod refusing;
mod scan;
pub mod stage;
mod story;
