//! The eco app through the wire, on the real parts (chapter 02).

mod away;
pub mod character;
mod chat;
mod demo;
mod images;
mod leaving;
mod location;
mod my;
mod notification;
mod realtime;
mod realtime_breaking;
mod realtime_cutting;
mod realtime_lasting;
mod recent;
mod refusing;
mod saga_faults;
mod scan;
mod sound;
pub mod stage;
pub mod story;
mod thumbnails;
mod unregistered;
