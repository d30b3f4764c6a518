//! The provider refuses, is late, breaks off or makes no sense: the seeded shops answer, and say so.

use std::time::Duration;

use coreloop_testkit::{TestMesh, run, wait::wait_for};
use serde_json::{Value, json};

use super::stage::{HALL, LONG, NOWON, around, asked, counts, fault, ids, mended, mesh, north, there};

/// The seeded shops around a place: all of them, whatever a search would find.
fn seeded(place: coreloop_location::globe::Point, radius_m: f64) -> Vec<&'static str> {
    there(place, radius_m, |_| true)
}

/// Each time another cell, of which nothing is kept.
async fn falls_back(mesh: &TestMesh, cell: u32, change: Value, reason: &str) {
    fault(mesh, change.clone()).await;
    let place = north(HALL, f64::from(cell) * 100.0);
    let answer = around(&mesh.rest(), place, 2_000).await;
    assert_eq!(answer["source"], "FALLBACK", "{change}");
    assert_eq!(ids(&answer), seeded(place, 2_000.0), "{change}");
    let line = format!("location_fallback_total{{reason=\"{reason}\"}} ");
    let metrics = mesh.node(0, "location").running().metrics.encode();
    assert!(metrics.lines().any(|counted| counted.starts_with(&line)), "{reason} is not in {metrics}");
    mended(mesh).await;
}

#[test]
fn whatever_is_wrong_with_the_provider_somebody_is_answered() {
    run(async {
        let mesh = mesh().setting("location.breaker_failures", 1_000_000_i64).start().await;
        falls_back(&mesh, 1, json!({"kind": "error", "status": 429}), "rate_limited").await;
        falls_back(&mesh, 2, json!({"kind": "quota"}), "rate_limited").await;
        falls_back(&mesh, 3, json!({"kind": "error", "status": 500}), "failed").await;
        falls_back(&mesh, 4, json!({"kind": "error", "status": 503}), "failed").await;
        falls_back(&mesh, 5, json!({"kind": "error", "status": 401}), "refused").await;
        falls_back(&mesh, 6, json!({"kind": "garbage"}), "nonsense").await;
        falls_back(&mesh, 7, json!({"kind": "cut"}), "nonsense").await;
        falls_back(&mesh, 8, json!({"kind": "reset"}), "unavailable").await;
        falls_back(&mesh, 9, json!({"kind": "timeout", "ms": 60_000}), "timeout").await;
        // Half of it is not enough: what would be missing nobody could tell.
        falls_back(&mesh, 10, json!({"kind": "error", "status": 429, "endpoint": "category"}), "rate_limited").await;
        falls_back(&mesh, 11, json!({"kind": "error", "status": 500, "endpoint": "keyword"}), "failed").await;
    });
}

#[test]
fn it_is_asked_again_soon_and_then_answers_itself() {
    run(async {
        let mesh = mesh().setting("location.fallback_cache_secs", 1_i64).start().await;
        fault(&mesh, json!({"kind": "error", "status": 500})).await;
        assert_eq!(around(&mesh.rest(), HALL, 2_000).await["source"], "FALLBACK");
        mended(&mesh).await;
        let answer = wait_for("the provider answers", LONG, async || {
            Some(around(&mesh.rest(), HALL, 2_000).await).filter(|answer| answer["source"] == "KAKAO")
        });
        assert!(!ids(&answer.await).is_empty());
    });
}

#[test]
fn one_that_goes_on_failing_is_left_alone_and_tried_again() {
    run(async {
        let builder = mesh().setting("location.breaker_failures", 2_i64).setting("location.breaker_secs", 3_600_i64);
        let mesh = builder.start().await;
        fault(&mesh, json!({"kind": "error", "status": 500})).await;
        for cell in 0..10 {
            let place = north(HALL, f64::from(cell) * 100.0);
            assert_eq!(around(&mesh.rest(), place, 1_000).await["source"], "FALLBACK");
        }
        assert_eq!(asked(&mesh).await, [("category", 2), ("keyword", 2)].into(), "nobody asked any more");
        assert!(counts(&mesh, "location_breaker_open 1"));
        // What it did answer is told as long as it is kept, and addresses are not looked up either.
        mended(&mesh).await;
        let alice = mesh.persona("alice").await;
        let refused = alice.get("/api/v1/location/geocode?query=x").await;
        refused.refused(503, "PROVIDER_UNAVAILABLE");
        assert!(!refused.header("retry-after").is_empty());
        assert!(!asked(&mesh).await.contains_key("address"));
    });
}

#[test]
fn after_a_pause_one_tries_and_all_are_answered() {
    run(async {
        let builder = mesh().setting("location.breaker_failures", 1_i64).setting("location.breaker_secs", 1_i64);
        let mesh = builder.setting("location.fallback_cache_secs", 1_i64).start().await;
        fault(&mesh, json!({"kind": "error", "status": 500, "times": 2})).await;
        assert_eq!(around(&mesh.rest(), NOWON, 2_000).await["source"], "FALLBACK");
        wait_for("it is tried again", LONG, async || {
            (around(&mesh.rest(), NOWON, 2_000).await["source"] == "KAKAO").then_some(())
        })
        .await;
        assert!(counts(&mesh, "location_breaker_open 0"));
    });
}

#[test]
fn without_a_key_nobody_is_asked() {
    run(async {
        let mesh = TestMesh::builder().modules(&["location"]).setting("limit.enabled", false).start().await;
        let answer = around(&mesh.rest(), HALL, 2_000).await;
        assert_eq!((&answer["source"], ids(&answer)), (&json!("FALLBACK"), seeded(HALL, 2_000.0)));
        // Of a large circle the thirty nearest.
        assert_eq!(ids(&around(&mesh.rest(), HALL, 20_000).await).len(), 30);
        let found = mesh.rest().get("/api/v1/location/search?q=%EB%A6%AC%ED%95%84").send().await.expect(200);
        assert_eq!((&found["source"], found["shops"].as_array().unwrap().len()), (&json!("FALLBACK"), 15));
    });
}

#[test]
fn who_waits_for_a_slow_provider_waits_no_longer_than_is_said() {
    run(async {
        let mesh = mesh().setting("location.kakao_timeout_ms", 2_500_i64).start().await;
        fault(&mesh, json!({"kind": "trickle", "ms": 60_000})).await;
        let began = tokio::time::Instant::now();
        assert_eq!(around(&mesh.rest(), HALL, 2_000).await["source"], "FALLBACK");
        // The time-out and no second try; the machine may be busy.
        assert!(began.elapsed() < Duration::from_millis(2_500) + Duration::from_secs(30), "{:?}", began.elapsed());
        assert_eq!(asked(&mesh).await, [("category", 1), ("keyword", 1)].into());
    });
}
