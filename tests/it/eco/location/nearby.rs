//! Shops around somebody: what two searches find, each once, the nearest first, from where they stand.

use coreloop_location::globe::Point;
use coreloop_testkit::run;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::stage::{HALL, MESH, NOWON, SEA, Shop, around, asked, counts, ids, mesh, north, open, there, visit};

#[test]
fn what_two_searches_find_is_told_once_and_the_nearest_first() {
    run(async {
        let mesh = mesh().start().await;
        let answer = around(&mesh.rest(), HALL, 2_000).await;
        assert_eq!(answer["source"], "KAKAO");
        assert_eq!(ids(&answer), there(HALL, 2_000.0, Shop::is_searched));
        let far: Vec<i64> =
            answer["shops"].as_array().unwrap().iter().map(|one| one["distance_m"].as_i64().unwrap()).collect();
        assert!(far.is_sorted() && *far.last().unwrap() <= 2_000, "{far:?}");
        let calls = asked(&mesh).await;
        assert_eq!(calls, [("category", 1), ("keyword", 1)].into(), "side by side, once each");
        // Another in the same cell, some metres off: the same shops, from where they stand, without a call.
        let beside = Point { lat: HALL.lat + 0.000_1, lng: HALL.lng };
        assert_eq!(beside.cell(), HALL.cell());
        assert_eq!(ids(&around(&mesh.rest(), beside, 2_000).await), there(beside, 2_000.0, Shop::is_searched));
        assert_eq!(asked(&mesh).await, calls);
        assert!(counts(&mesh, "location_cache_total{cache=\"nearby\",result=\"hit\"} 1"));
        // It is kept for half a minute, under the cell.
        let mut command = redis::cmd("TTL");
        command.arg(HALL.cell().key(2_000));
        let ttl: i64 = command.query_async(&mut mesh.redis.connect().await).await.unwrap();
        assert!((1..=30).contains(&ttl), "{ttl}");
        // Found shops are kept, with what only we know of them, and once.
        let rows = "select count(*) from location.shops where not seeded";
        assert_eq!(mesh.db.count(rows).await, 0, "the file's shops are the provider's");
    });
}

#[test]
fn how_far_is_two_kilometres_and_twenty_at_most() {
    run(async {
        let mesh = MESH.get().await;
        let rest = mesh.rest();
        let plain =
            rest.get(&format!("/api/v1/location/shops?lat={}&lng={}", NOWON.lat, NOWON.lng)).send().await.expect(200);
        assert_eq!(ids(&plain), there(NOWON, 2_000.0, Shop::is_searched));
        let near = around(&rest, NOWON, 700).await;
        assert_eq!(ids(&near), there(NOWON, 700.0, Shop::is_searched));
        let far = around(&rest, NOWON, 20_000).await;
        assert!(ids(&far).len() > 15, "both searches are full");
        for bad in [
            "lat=90.1&lng=0",
            "lat=0&lng=180.1",
            "lat=NaN&lng=0",
            "lat=0",
            "lng=0",
            "lat=0&lng=0&radius=20001",
            "lat=0&lng=0&radius=-1",
        ] {
            let refused = rest.get(&format!("/api/v1/location/shops?{bad}")).send().await;
            assert_eq!(refused.status, 400, "{bad}: {}", refused.text());
        }
    });
}

/// Who asks for each metre by itself would use up the provider's day from one place.
#[test]
fn however_many_radii_are_asked_for_few_are_searched_and_what_was_asked_is_told() {
    run(async {
        let mesh = mesh().start().await;
        for radius in [1_600, 1_700, 1_801, 1_999, 2_000] {
            let answer = around(&mesh.rest(), HALL, radius).await;
            assert_eq!(ids(&answer), there(HALL, f64::from(radius), Shop::is_searched), "{radius}");
        }
        assert_eq!(asked(&mesh).await, [("category", 1), ("keyword", 1)].into(), "one search serves them all");
    });
}

#[test]
fn the_poles_and_the_date_line_are_places() {
    run(async {
        let mesh = MESH.get().await;
        for (lat, lng) in [(90.0, 0.0), (-90.0, 180.0), (0.0, 180.0), (0.0, -180.0), (89.999_9, -179.999_9), (0.0, 0.0)]
        {
            let answer = around(&mesh.rest(), Point { lat, lng }, 20_000).await;
            assert_eq!((&answer["source"], ids(&answer).len()), (&json!("KAKAO"), 0), "{lat} {lng}");
        }
        assert_eq!(ids(&around(&mesh.rest(), SEA, 20_000).await).len(), 0);
    });
}

fn state(answer: &Value, shop: &Shop, what: &str) -> Value {
    let shops = answer["shops"].as_array().unwrap();
    let one = shops
        .iter()
        .find(|one| one["shop"]["shop_id"] == *shop.id)
        .unwrap_or_else(|| panic!("no {} in {answer}", shop.name));
    one[what].clone()
}

#[test]
fn shops_are_open_as_the_clock_says_though_the_answer_is_kept() {
    run(async {
        let mesh = mesh().start().await;
        let (always, day, unknown) = (open("1-7 00:00-24:00"), open("1-6 10:00-20:00"), open(""));
        let seen = async |shop: &Shop| state(&around(&mesh.rest(), shop.place, 500).await, shop, "open_state");
        let mut states = std::collections::BTreeSet::new();
        for _ in 0..24 {
            assert_eq!(seen(always).await, "OPEN_STATE_OPEN");
            assert_eq!(seen(unknown).await, "OPEN_STATE_UNKNOWN");
            states.insert(seen(day).await.as_str().unwrap().to_owned());
            mesh.clock.advance(SignedDuration::from_hours(7));
        }
        assert_eq!(
            states,
            ["OPEN_STATE_CLOSED".to_owned(), "OPEN_STATE_OPEN".to_owned()].into(),
            "in a week by sevens of hours"
        );
    });
}

#[test]
fn a_shop_is_as_crowded_as_people_of_late_say() {
    run(async {
        let mesh = mesh().start().await;
        let shop = open("1-7 00:00-24:00");
        // Each time another search, of which nothing is kept.
        let crowd = async |radius| state(&around(&mesh.rest(), shop.place, radius).await, shop, "crowd");
        assert_eq!(crowd(300).await, "CROWD_LEVEL_QUIET");
        for name in ["alice", "bob", "carol"] {
            visit(&mesh.persona(name).await, &shop.id, north(shop.place, 20.0)).await.expect(200);
        }
        assert_eq!(crowd(500).await, "CROWD_LEVEL_NORMAL");
        let details = format!("/api/v1/location/shops/{}", shop.id);
        assert_eq!(mesh.rest().get(&details).send().await.expect(200)["crowd"], "CROWD_LEVEL_NORMAL");
        // An hour later they have gone.
        mesh.clock.advance(SignedDuration::from_secs(3_601));
        assert_eq!(crowd(1_000).await, "CROWD_LEVEL_QUIET");
    });
}
