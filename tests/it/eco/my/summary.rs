//! The summary: its parts, kept for a moment, of nobody else.

use coreloop_core::Clock as _;
use coreloop_scan_api::v1::Category;
use coreloop_testkit::run;
use jiff::SignedDuration;
use serde_json::json;

use super::stage::{counted, day, mesh, owns, recycles, summary};
use crate::eco::character::stage::given;

#[test]
fn a_summary_is_kept_for_fifteen_seconds_and_is_of_nobody_else() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let first = summary(&alice).await;
        let then = mesh.clock.now();
        assert_eq!(
            (&first["characters"], &first["recycling"]["recycled"], &first["streak"]),
            (&json!({"owned": 0}), &json!(0), &json!({"current": 0, "longest": 0, "last_day": ""})),
            "{first}"
        );
        given(&mesh, &alice, "CHR001").await;
        recycles(&mesh, &alice, Category::Pet, &day(&mesh, 0)).await;
        counted(&mesh, &alice, 1).await;
        // However long that took here, it is a second later.
        mesh.clock.advance(then.duration_since(mesh.clock.now()) + SignedDuration::from_secs(1));
        assert_eq!(summary(&alice).await, first, "it is as it was kept");
        mesh.clock.advance(SignedDuration::from_secs(15));
        let second = summary(&alice).await;
        // Her scan may have brought a character as well.
        assert!(second["characters"]["owned"].as_i64().unwrap() >= 1, "{second}");
        assert_eq!((&second["recycling"]["recycled"], &second["stale"]), (&json!(1), &json!([])));
        assert_eq!(summary(&bob).await["recycling"]["recycled"], 0);

        // What is kept is kept for half a day at most, and nothing depends on it.
        let key = format!("my:summary:{}", alice.user_id);
        let mut redis = mesh.redis.connect().await;
        let left: i64 = redis::cmd("TTL").arg(&key).query_async(&mut redis).await.unwrap();
        assert!((1..=43_200).contains(&left), "{left}");
        for value in [&b"nonsense"[..], b"\xff\xff"] {
            redis::cmd("SET").arg(&key).arg(value).query_async::<()>(&mut redis).await.unwrap();
            assert_eq!(summary(&alice).await["recycling"], second["recycling"]);
        }
    });
}

#[test]
fn characters_are_what_the_service_of_characters_says() {
    run(async {
        let mesh = mesh().setting("my.summary_cache_secs", 0_i64).start().await;
        let alice = mesh.persona("alice").await;
        for code in ["CHR001", "CHR002"] {
            given(&mesh, &alice, code).await;
        }
        // At once, before it is heard.
        assert_eq!(summary(&alice).await["characters"]["owned"], 2);
        owns(&mesh, &alice, 2).await;
    });
}
