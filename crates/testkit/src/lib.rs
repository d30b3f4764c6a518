//! Real parts for tests: no mocks of our own code, no sleeps, nothing left running.
//!
//! A test starts a [`TestMesh`] (its own database from a template, its own Redis, every module in this process or each
//! behind its own socket, a real Envoy when asked), makes [`Persona`]s and reads as a sentence. Three decisions shape
//! the kit. **One runtime for the whole test process** ([`run`]): a mesh may outlive the test that started it, so the
//! tests of a file can share one ([`Shared`]). **Children die with us**: Redis and Envoy are started with a parent-death
//! signal by a thread that lives as long as the process, so a panic, a kill or an abort leaves nothing behind.
//! **Each persona has an address of its own** (127.x.y.z), so limits by address never couple two tests.
//!
//! What surrounds the kit is told by the environment, which only `cargo xtask test` sets (see [`surroundings`]).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that cannot be made fails the test that asked for it, with its reason"
)]

pub mod alone;
pub mod apicurio;
pub mod balancer;
pub mod child;
pub mod database;
pub mod deep;
pub mod elasticmq;
pub mod envoy;
pub mod kafka;
pub mod logs;
pub mod memory;
pub mod mesh;
pub mod otlp;
pub mod persona;
pub mod port;
pub mod probe;
pub mod product;
pub mod proxy;
pub mod rabbit;
pub mod raw;
pub mod redis_server;
pub mod rest;
pub mod roles;
pub mod rpc;
pub mod runtime;
pub mod socket;
pub mod stand_ins;
pub mod surroundings;
pub mod wait;
pub mod watcher;

pub use alone::alone;
pub use apicurio::TestRegistry;
pub use balancer::Balancer;
pub use database::TestDb;
pub use deep::{Rounds, deep, figure, seed};
pub use elasticmq::TestSqs;
pub use envoy::Envoy;
pub use kafka::TestKafka;
pub use mesh::{Before, MODULES, TestMesh};
pub use otlp::OtlpReceiver;
pub use persona::{PASSWORD, Persona, Visitor};
pub use probe::Probe;
pub use product::Product;
pub use proxy::{Fault, FaultProxy};
pub use rabbit::TestRabbit;
pub use redis_server::TestRedis;
pub use rest::{Answer, Rest};
pub use roles::Admin;
pub use runtime::{Shared, run};
pub use socket::{Socket, SocketHeard};
pub use stand_ins::{Back, StandIns};
pub use wait::wait_until;
pub use watcher::{Heard, Watcher, Way};
