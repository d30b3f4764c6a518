//! Scans: what photos show, and what that is worth (chapter 02).
//!
//! **What it owns.** The schema `scan`: which photos are to be classified, their results, what has earned something, counts by day.
//!
//! **What it promises.**
//! * *A registered photo is classified once* ([`tasks`]): an image is one task by a unique constraint; the task and the command that
//!   has it done are written in one transaction, and a command that is lost is sent again ([`sweeping`]).
//! * *A task ends once* ([`finishing`]): its row is locked, and state, history, counts, fact and the note that the command was done
//!   are one transaction. Whoever comes later finds it ended.
//! * *The same photo earns once*: a user and what storage calls the content are a primary key.
//! * *A model that fails costs time, never a photo* ([`model`], `crates/outbound`): it is asked again with pauses, and left alone for a while
//!   when it goes on failing; what cannot be classified in the end is told as failed.
//! * *What a model says is not believed* ([`verdict`]): a category that there is not, a confidence that is none, a text where JSON
//!   was asked for, is nonsense; it is asked once more, and then the photo has no result.
//! * *A worker outside of the mesh does the same work* ([`jobs`]): it leases rows, is told metadata alone, and what it finds is judged
//!   as what the model says.
//!
//! **What was rejected.** A running state of tasks (one more write for what nobody decides by); all waiting photos as commands (a
//! queue that is full holds up the outbox and a command that waits too long expires: a few are on their way, the others are rows);
//! "no eligible row yet" as a look before the write (two at once both see none); the address of a photo in the command (a signed one
//! is a secret, and is over when the command is tried again: it is asked for when it is needed).

pub mod address;
pub mod app;
pub mod cache;
pub mod classifier;
pub mod classifying;
pub mod error;
pub mod finishing;
pub mod grpc;
pub mod hearing;
pub mod history;
pub mod images;
pub mod integrity;
pub mod jobs;
pub mod looking;
pub mod metrics;
pub mod model;
pub mod module;
pub mod options;
pub mod origin;
pub mod rewarding;
pub mod stats;
pub mod store;
pub mod sweeping;
pub mod tasks;
pub mod times;
pub mod verdict;
pub mod wire;

pub use app::App;
pub use error::Error;
pub use module::{MIGRATIONS, module};
pub use options::Options;
