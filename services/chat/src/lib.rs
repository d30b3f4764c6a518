//! Chat: what users and a language model say to each other (chapter 02).
//!
//! **What it owns.** The schema `chat`: conversations, messages, what their answers took of the model.
//!
//! **What it promises.**
//! * *Nothing that was said is lost* ([`asking`]): a message, its answer (still to be given) and the command that has it given are one
//!   transaction. Whatever fails afterwards is written down as the answer's failure, and can be asked for again ([`retrying`]).
//! * *Answers of a conversation come in order*: its row is locked while messages are numbered and told, and commands of one conversation
//!   are done one after another.
//! * *An answer ends once for each time that it is asked for* ([`ending`]): by the id of the command, under the lock of the conversation;
//!   state, history, fact, cost and the note that the command was done are one transaction.
//! * *A model that fails costs time, never a message* ([`model`]): it is asked again with pauses, left alone while it goes on failing, and
//!   given up in time.
//! * *Who listens hears the answer as it is said* ([`pieces`], [`hub`]): pieces are kept in Redis for some minutes, so a stream goes on
//!   where it broke off, on whichever replica. What is kept in Postgres is the truth, and what every stream ends with.
//! * *What is said stands in one table* and goes with it ([`removing`], [`leaving`]): no event, fact, command or log holds a word of it.
//!
//! **What was rejected.** A running state of answers (one more write for what nobody decides by); the tries of the command for a model
//! that fails (they take minutes, and whoever waits for an answer is gone by then: a stored failure is asked for again when there is
//! somebody who wants it); the answer as the result of the command (it would stay in the notes of what was done for a week after its
//! conversation was deleted); pieces in Postgres (a write a word); a remote question while a row is locked.

pub mod answering;
pub mod app;
pub mod asking;
pub mod context;
pub mod ending;
pub mod error;
pub mod grpc;
pub mod hearing;
pub mod history;
pub mod hub;
pub mod leaving;
pub mod listening;
pub mod metrics;
pub mod model;
pub mod module;
pub mod neighbours;
pub mod opening;
pub mod options;
pub mod pieces;
pub mod removing;
pub mod retrying;
pub mod said;
pub mod sending;
pub mod store;
pub mod sweeping;
pub mod telling;
pub mod times;

pub use app::App;
pub use error::Error;
pub use module::{MIGRATIONS, module};
pub use options::Options;
