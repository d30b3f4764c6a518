//! What people do, from the first request to the last, through Envoy.

mod admins;
mod age;
pub mod economy;
mod guessing;
mod history;
mod invites;
mod linking;
mod mails;
mod passwords;
mod racing;
mod refreshing;
mod revoking;
mod sessions;
mod signing_in;
mod social;
mod streams;
mod used_up;
