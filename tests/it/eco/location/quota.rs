//! The provider is never asked more often in a day than it allows, whatever happens to Redis.

use coreloop_testkit::{Fault, Rest, TestMesh, mesh::Before, run, wait_until};
use futures::future::join_all;
use jiff::SignedDuration;
use sqlx::Executor as _;

use super::stage::{HALL, LONG, around, asked, counts, mesh, north, path};

async fn calls(mesh: &TestMesh) -> u64 {
    asked(mesh).await.values().sum()
}

#[test]
fn the_calls_of_a_day_are_counted_over_replicas_and_at_once() {
    run(async {
        let builder = mesh().setting("location.quota_daily", 20_i64).setting("location.quota_block", 3_i64);
        let mesh = builder.split().replicas(2).start().await;
        let rests: Vec<Rest> = (0..2).map(|n| Rest::to(mesh.gateway_on(n))).collect();
        // Forty cells, two calls each, of twenty.
        let asking = (0..40_u32).map(|n| {
            let rest = rests[n as usize % 2].clone();
            async move {
                around(&rest, north(HALL, f64::from(n) * 200.0), 1_000).await["source"].as_str().unwrap().to_owned()
            }
        });
        let sources = join_all(asking).await;
        let found = sources.iter().filter(|source| *source == "KAKAO").count() as u64;
        assert_eq!(calls(&mesh).await, found * 2, "{sources:?}");
        // Who asks while the last of them are handed over gets none; whoever comes later gets what is left, and no more.
        for n in 40..60_u32 {
            around(&rests[n as usize % 2], north(HALL, f64::from(n) * 200.0), 1_000).await;
        }
        assert_eq!(calls(&mesh).await, 20, "{sources:?}");
        assert_eq!(mesh.db.count("select granted from location.quota").await, 20);
    });
}

#[test]
fn a_redis_that_forgets_costs_calls_and_gives_none() {
    run(async {
        let builder = mesh().setting("location.quota_daily", 12_i64).setting("location.quota_block", 6_i64);
        let mesh = builder.start().await;
        for n in 0..10_u32 {
            around(&mesh.rest(), north(HALL, f64::from(n) * 200.0), 1_000).await;
            if n == 1 {
                // Of the first block two calls are left, and go with it.
                mesh.redis.flush().await;
            }
        }
        assert_eq!(calls(&mesh).await, 10);
        assert_eq!(mesh.db.count("select granted from location.quota").await, 12);
    });
}

/// Redis goes away between the grant of a block and its answer that it has it.
#[test]
fn a_block_that_redis_did_not_take_is_handed_to_it_later() {
    run(async {
        let builder = mesh().setting("location.quota_daily", 12_i64).setting("location.quota_block", 6_i64);
        let builder = builder.setting("location.cache_secs", 3_600_i64).setting("location.redis_timeout_ms", 3_000_i64);
        let patient = builder.setting("database.lock_timeout_ms", 60_000_i64);
        let mesh = patient.setting("database.statement_timeout_ms", 60_000_i64).proxy(Before::Redis).start().await;
        let place = |n: u32| north(HALL, f64::from(n) * 200.0);
        for n in 0..3 {
            around(&mesh.rest(), place(n), 1_000).await;
        }
        assert_eq!(calls(&mesh).await, 6, "the first block is used up");
        let mut holder = mesh.db.connect().await;
        holder.execute("begin").await.unwrap();
        holder.execute("select from location.quota for update").await.unwrap();
        let waiting = "select count(*) from pg_stat_activity where datname = current_database()
                       and wait_event_type = 'Lock' and query like '%location.quota%'";
        let rest = mesh.rest();
        let asking = around(&rest, place(3), 1_000);
        let cutting = async {
            wait_until("the next is to be granted", LONG, async || mesh.db.count(waiting).await > 0).await;
            mesh.redis_proxy.as_ref().unwrap().set(Fault::Cut);
            holder.execute("rollback").await.unwrap();
        };
        let (answer, ()) = tokio::join!(asking, cutting);
        assert_eq!((&answer["source"], calls(&mesh).await), (&serde_json::json!("KAKAO"), 8), "it was granted");
        mesh.redis_proxy.as_ref().unwrap().heal();
        let hit = "location_cache_total{cache=\"nearby\",result=\"hit\"}";
        wait_until("redis answers", LONG, async || {
            around(&mesh.rest(), place(0), 1_000).await;
            mesh.node(0, "location").running().metrics.encode().lines().any(|line| line.starts_with(hit))
        })
        .await;
        for n in 4..8 {
            around(&mesh.rest(), place(n), 1_000).await;
        }
        assert_eq!(calls(&mesh).await, 12, "all of the day's, and no more");
        assert_eq!(mesh.db.count("select granted from location.quota").await, 12);
    });
}

#[test]
fn without_redis_the_database_counts_and_a_new_day_has_its_own() {
    run(async {
        let builder = mesh().setting("location.quota_daily", 4_i64).setting("location.redis_timeout_ms", 200_i64);
        let mut mesh = builder.start().await;
        mesh.redis.kill();
        let ask = async |n: u32| around(&mesh.rest(), north(HALL, f64::from(n) * 200.0), 1_000).await["source"].clone();
        let sources = [ask(0).await, ask(1).await, ask(2).await];
        assert_eq!(sources, ["KAKAO", "KAKAO", "FALLBACK"]);
        mesh.clock.advance(SignedDuration::from_hours(24));
        assert_eq!(ask(3).await, "KAKAO");
        assert_eq!(mesh.db.count("select count(*) from location.quota where granted <= 4").await, 2);
    });
}

#[test]
fn where_nobody_can_count_nobody_is_asked() {
    run(async {
        let builder = mesh().setting("location.redis_timeout_ms", 200_i64);
        let mut mesh = builder.proxy(Before::Postgres).start().await;
        mesh.redis.kill();
        mesh.postgres_proxy.as_ref().unwrap().set(Fault::Cut);
        mesh.rest().get(&path(HALL, 1_000)).send().await.refused(503, "DEPENDENCY_UNAVAILABLE");
        assert_eq!(calls(&mesh).await, 0);
        assert!(counts(&mesh, "location_fallback_total{reason=\"quota_unknown\"} 1"));
    });
}
