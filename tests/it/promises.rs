//! The figures of chapter 09, a test for each promise: a short form in every run, in full by `cargo xtask prove`.
//!
//! A race that is lost one time in a hundred is not seen by one round, so each of these goes round after round, spread
//! over replicas, prints the seed that decides who begins where, and counts what is in the database at the end.

mod claims;
mod envoy;
mod guessing;
mod keys;
mod overload;
mod refreshing;
mod restarting;
pub mod sagas;
mod watching;

use std::time::Duration;

use coreloop_testkit::{Answer, TestMesh, Visitor, mesh::Builder};
use futures::future::join_all;
use serde_json::Value;

/// How long a racer waits: two hundred who hash on a busy machine are last to be served.
const PATIENCE: Duration = Duration::from_secs(120);

/// So many replicas on one database and Redis, without rate limits, which would hide a race, and with patience and places: who
/// loses a race is told so however late, and by its own reason.
fn replicas(count: usize) -> Builder {
    TestMesh::builder()
        .replicas(count)
        .setting("limit.enabled", false)
        .setting("server.max_wait_ms", 30_000_i64)
        .setting("server.max_in_flight", 4_000_i64)
        .setting("auth.hash_queue", 1_000_i64)
        .setting("gateway.deadline_secs", 110_i64)
        .setting("server.default_deadline_ms", 110_000_i64)
        .setting("database.acquire_timeout_ms", 60_000_i64)
        .setting("database.lock_timeout_ms", 60_000_i64)
        .setting("redis.response_timeout_ms", 30_000_i64)
}

/// Callers who are each at an address of their own, in turn at each of the replicas; `seed` says who begins where.
fn racers(mesh: &TestMesh, count: usize, replicas: usize, seed: u64) -> Vec<Visitor> {
    let begin = usize::try_from(seed % 1_000).unwrap_or_default();
    (0..count).map(|number| mesh.visitor("racer").at(&mesh.gateway_on((begin + number) % replicas))).collect()
}

/// Every racer posts what `body` makes for it, all at once.
async fn all_post(racers: &[Visitor], path: &str, body: impl Fn(&Visitor) -> Value) -> Vec<Answer> {
    join_all(racers.iter().map(|racer| {
        let body = body(racer);
        async move { racer.rest().post(path, &body).within(PATIENCE).send().await }
    }))
    .await
}

/// How many answers are good; every other one must be refused for one of `reasons`.
fn good(answers: &[Answer], reasons: &[&str]) -> usize {
    let (good, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status.is_success());
    for answer in refused {
        let allowed = reasons.contains(&answer.reason().as_str());
        assert!(allowed, "{} {}, logged {:?}", answer.status, answer.text(), answer.logged());
    }
    good.len()
}
