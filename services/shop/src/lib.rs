//! The shop (chapter 03): what is sold, and purchases that are neither lost nor doubled.
//!
//! **What it owns.** The schema `shop`: the catalogue, stock, promo codes, purchases, what items did, receipt keys.
//!
//! **What it promises.**
//! * *A purchase is one, whatever is killed or asked again.* Its id is made of user, product and key ([`order`]), so the
//!   primary key decides between replicas; everything that moves for it elsewhere is named by that id.
//! * *Never charged twice, never charged without the item.* It is written down before anything moves ([`open`]), and ended by
//!   one statement that writes how it ended, what the item does and the events ([`close`]). Who dies in between is followed by
//!   a worker that asks the wallet and the payment service again, with the same names ([`settle`], [`worker`]).
//! * *What is limited is not oversold.* Pieces, places and promo codes are taken under lock when the purchase is written down
//!   ([`decide`]), and given back by the statement that ends it as failed.
//! * *A receipt says what happened.* It is a hash of what was written and a signature of that ([`receipt`]).
//!
//! No remote call is made while a transaction is open. Redis is asked first whether a key is being worked on, because that is
//! cheap; it decides nothing, and purchases go on without it.
//!
//! **What was rejected.** Holding the GOLD, then capturing it: two more calls for a purchase that is over in milliseconds. A
//! saga's log apart from the purchase: it would have to agree with it. An answer kept as bytes: the row is small and never
//! changes once it is over, so the answer is made of it, and a repeat is answered the same. Stock that is counted from
//! purchases: it would lock all of them.

pub mod app;
pub mod chargeback;
pub mod charges;
pub mod claim;
pub mod close;
pub mod decide;
pub mod error;
pub mod facts;
pub mod fraud;
pub mod grpc;
pub mod integrity;
pub mod keys;
pub mod metrics;
pub mod module;
pub mod open;
pub mod options;
pub mod order;
pub mod payment;
pub mod purchase;
pub mod receipt;
pub mod recheck;
pub mod settle;
pub mod store;
pub mod time;
pub mod wallet;
pub mod webhook;
pub mod worker;

pub use app::App;
pub use error::Error;
pub use module::{MIGRATIONS, module};
pub use options::Options;
