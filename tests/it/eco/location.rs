//! Locations: shops around people, what they keep of them, and live maps.

mod away;
mod coalescing;
mod falling;
mod favorites;
mod forgetting;
mod leaving;
mod looking;
mod nearby;
mod quota;
mod refusing;
mod sites;
mod socket;
pub mod stage;
mod tracking;
mod visits;
