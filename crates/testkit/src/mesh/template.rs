//! The template database of a mesh: migrated, seeded and with its keys made, once per build of the tests.

use std::{fmt::Write as _, time::UNIX_EPOCH};

use aws_lc_rs::digest;
use coreloop_config::Settings;
use coreloop_core::ManualClock;
use coreloop_server::Server;

use super::node;
use crate::{TestDb, TestRedis};

/// A copy of the template.
pub(super) async fn copy(base: &Settings) -> TestDb {
    TestDb::copy_of(&state(), async |url| fill(base, &url).await).await
}

/// Names the state of the migrations and of the code that seeds: the build of this test binary.
fn state() -> String {
    let binary = std::env::current_exe().and_then(std::fs::metadata).expect("our own binary");
    let built = binary.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let hash = digest::digest(&digest::SHA256, format!("{built:?} {}", binary.len()).as_bytes());
    hash.as_ref().iter().take(6).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Starts what has a schema on the empty database, which migrates, seeds and makes keys, and ends it.
async fn fill(base: &Settings, url: &str) {
    let redis = TestRedis::start().await;
    let settings = base.with("database.url", url).with("database.admin_url", url).with("redis.url", redis.url());
    let running = Server::builder(settings)
        .modules(node::names().filter(|name| *name != "edge").map(node::module).collect())
        .clock(std::sync::Arc::new(ManualClock::new()))
        .migrate(true)
        .start()
        .await
        .unwrap_or_else(|error| panic!("the template was not made: {}", node::chain(&error)));
    running.ready().await;
    running.shutdown().await;
}
