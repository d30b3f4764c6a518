//! The one integration-test target: everything that is proven through the wire, on the real parts.
//!
//! Run it with `cargo xtask test`, which tells where Postgres and Envoy are. Two meshes serve most tests (see
//! [`meshes`]); a test that changes settings, kills or cuts something starts its own. A test is one sentence.

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

#[macro_use]
mod meshes;

mod conformance;
mod eco;
mod eventing;
mod eventstore;
mod faults;
mod gates;
mod journeys;
mod observability;
#[path = "../odd.rs"]
mod odd;
mod ops;
mod promises;
mod rest;
mod rewards;
mod server;
mod shop;
mod storage;
mod wallet;
