//! Asking third parties over HTTP: within bounds, again where that may help, not while they go on failing.
//!
//! A [`Party`] is somebody on the internet as one service knows them: a client that is made at first use and follows no redirect, a
//! [`Breaker`], and the [`Pauses`] between two questions. What is asked and what an answer means is the service's own; so is the loop,
//! for some ask otherwise the second time. One question is
//! ```text
//! let left = party.admit(until)?;                       // the time left; nobody asks while it goes on failing
//! let told = send(party.client()?, left).await;
//! party.hear(&told);                                    // the breaker learns of it
//! ```
//! No error names an address or a key: third parties repeat what they were asked.

mod away;
mod breaker;
mod party;
mod pauses;

pub use away::Away;
pub use breaker::Breaker;
pub use party::{Party, read, retry_after};
pub use pauses::Pauses;
