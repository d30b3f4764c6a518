//! Locations: shops and places around somebody, favourites, visits, live maps (chapter 02).
//!
//! **What it owns.** The schema `location`: shops as a provider and we know them, favourites, visits, sites, and how many calls of the
//! provider are granted of a day.
//!
//! **What it promises.**
//! * *Somebody is always answered* ([`nearby`]): where the provider refuses, is late, makes no sense, is left alone or has had its calls of
//!   the day, three hundred shops that are kept here answer, and say so.
//! * *However many ask for a cell at once, on however many replicas, the provider is asked once* ([`cached`]).
//! * *The provider is never asked more often in a day than it allows* ([`quota`]): calls are granted by the database before they are made.
//! * *Where somebody is, is kept nowhere*: places are answered and forgotten; keys of caches are those of cells of the grid; a visit is a
//!   shop and a day.
//! * *A visit counts once a day* ([`visiting`]): a unique constraint; the visit and what is told of it are one transaction.
//! * *A live map costs a search every four hundred metres*, and two messages a second each way at most ([`tracking`], [`grpc::track`]).
//!
//! **What was rejected.** Answers of the provider beside ours in one list (nobody could tell what is missing); half an answer when one
//! of the two searches fails (it would be kept as a whole one); old answers in the place of the seeded shops (the chapter names those);
//! `PostGIS` (a rectangle over an index and a sum find what is near); a command that writes down what the provider said (what is answered
//! must be found by its id at once: it is written on the way); counting the provider's calls in Redis alone (it forgets).

pub mod app;
pub mod cached;
pub mod csv;
pub mod error;
pub mod globe;
pub mod grpc;
pub mod hearing;
pub mod hours;
pub mod kakao;
pub mod keeping;
pub mod looking;
pub mod metrics;
pub mod module;
pub mod nearby;
pub mod options;
pub mod quota;
pub mod shop;
pub mod sites;
pub mod store;
pub mod sweeping;
pub mod times;
pub mod tracking;
pub mod visiting;
pub mod wire;
pub mod worker;

pub use app::App;
pub use error::Error;
pub use module::{MIGRATIONS, module};
pub use options::Options;
