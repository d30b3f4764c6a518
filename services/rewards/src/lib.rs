//! Rewards: what users are given, and what they get for their points (chapter 03).
//!
//! **What it owns.** The schema `rewards`: grants, self-serve campaigns, the shelf and what was redeemed, ads and what was
//! clicked, the audit of all of it. Value itself is the wallet's.
//!
//! **What it promises.**
//! * *What is promised is given, once.* A grant is written before the wallet is asked, under an id made of the external event;
//!   the wallet is asked under the grant's own key; what was interrupted is taken up by the recovery ([`worker`]).
//! * *A redemption ends with a voucher or with everything back, once* ([`redemptions`]). Each step is written before the next is
//!   begun and left by one statement; wallet and vendor are asked under keys made of the redemption.
//! * *A voucher's code is its owner's* ([`vault`]): sealed before it is written anywhere.
//! * *A click is worth something once* ([`ads`]): a signed token, and a unique row for token and for user, ad and day.
//! * *An event is one grant.* The same event answers the first grant; with another body it is refused.
//! * *Who was given what is known.* Each step has a line in `reward_audit`, in the step's own transaction, append-only; a sweep
//!   names what is missing.
//!
//! **What was rejected.** A hold for the points of a redemption (its time may be over while a vendor still thinks; a spending is
//! reversed whenever that is known); giving up a vendor by our clock alone (it may have issued: it is told to cancel the key, and
//! what it answers decides); asking the wallet inside the transaction (its time would be the database's locks); giving first and
//! writing afterwards (a kill between the two gives twice or forgets); one namespace of external events for all callers (a user
//! could use up the name of an event that a service is about to tell).

pub mod acts;
pub mod ads;
pub mod app;
pub mod bank;
pub mod ending;
pub mod error;
pub mod grants;
pub mod grpc;
pub mod integrity;
pub mod issue;
pub mod metrics;
pub mod module;
pub mod options;
pub mod origin;
pub mod redemptions;
pub mod store;
pub mod times;
pub mod vault;
pub mod vendor;
pub mod worker;

pub use app::App;
pub use error::Error;
pub use module::{MIGRATIONS, module};
pub use options::Options;
