//! F1: no input panics, takes long or makes what it should not, for everything that strangers' bytes reach first.
//!
//! Each test mutates a corpus of its own, by the structure of what it feeds: a token is changed within its decoded parts, a
//! `CheckRequest` within its fields. What is accepted joins the corpus. Two million inputs each, fifty in the deep form;
//! `CORELOOP_TEST_SEED` makes the same choices again, and a failure prints the input itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod check;
mod drive;
mod headers;
mod json;
mod mutate;
#[path = "../odd.rs"]
mod odd;
mod path;
mod query;
mod socket;
mod token;
