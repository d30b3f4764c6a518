//! A shop's details, searches by words, addresses.

use coreloop_testkit::{Persona, TestMesh, run};
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{HALL, SHOPS, asked, encoded, fault, mended, mesh, open};

async fn get(who: &Persona, path: &str) -> Value {
    who.get(&format!("/api/v1/location/{path}")).await.expect(200)
}

async fn begun() -> (TestMesh, Persona) {
    let mesh = mesh().start().await;
    let alice = mesh.persona("alice").await;
    (mesh, alice)
}

#[test]
fn a_shop_has_hours_and_tags_and_one_that_is_none_is_not_found() {
    run(async {
        let (mesh, alice) = begun().await;
        let shop = open("1-5 10:00-20:00;6-7 11:00-18:00");
        let details = get(&alice, &format!("shops/{}", shop.id)).await;
        assert_eq!((&details["shop"]["name"], &details["shop"]["lat"]), (&json!(shop.name), &json!(shop.place.lat)));
        assert!(details["shop"]["tags"].as_array().is_some_and(|tags| !tags.is_empty()), "{details}");
        let hours = details["hours"].as_array().unwrap();
        assert_eq!((hours.len(), &hours[6]), (7, &json!({"weekday": 7, "opens": "11:00", "closes": "18:00"})));
        // Nobody need be signed in.
        let path = format!("/api/v1/location/shops/{}", Uuid::new_v4());
        mesh.rest().get(&path).send().await.refused(404, "SHOP_NOT_FOUND");
        mesh.rest().get("/api/v1/location/shops/none").send().await.refused(400, "VALIDATION_FAILED");
        assert_eq!(asked(&mesh).await, [].into());
    });
}

#[test]
fn words_are_looked_for_once_and_what_they_find_is_kept() {
    run(async {
        let (mesh, alice) = begun().await;
        let name = encoded(SHOPS[0].name);
        let found = get(&alice, &format!("search?q={name}")).await;
        assert_eq!((&found["source"], &found["shops"][0]["shop_id"]), (&json!("KAKAO"), &json!(SHOPS[0].id)));
        let again = mesh.rest().get(&format!("/api/v1/location/search?q=%20%20{name}%20")).send().await.expect(200);
        assert_eq!((again, asked(&mesh).await), (found, [("keyword", 1)].into()));
        let nothing = get(&alice, "search?q=zzzz").await;
        assert_eq!((&nothing["source"], &nothing["shops"]), (&json!("KAKAO"), &json!([])));
        for bad in ["", "%20", "%09", &"x".repeat(101), "%00"] {
            let refused = alice.get(&format!("/api/v1/location/search?q={bad}")).await;
            refused.refused(400, "VALIDATION_FAILED");
        }
    });
}

#[test]
fn a_search_by_words_falls_back_and_what_is_special_to_patterns_is_not() {
    run(async {
        let (mesh, alice) = begun().await;
        fault(&mesh, json!({"kind": "error", "status": 429})).await;
        let found = get(&alice, &format!("search?q={}", encoded("리필"))).await;
        assert_eq!(found["source"], "FALLBACK");
        let shops = found["shops"].as_array().unwrap();
        assert!(
            shops.len() == 15 && shops.iter().all(|shop| shop["name"].as_str().unwrap().contains("리필")),
            "{found}"
        );
        for pattern in ["%25", "_", "%5C"] {
            assert_eq!(get(&alice, &format!("search?q={pattern}")).await["shops"], json!([]), "{pattern}");
        }
    });
}

#[test]
fn addresses_are_looked_up_both_ways_and_kept_for_a_day() {
    run(async {
        let (mesh, alice) = begun().await;
        let found = get(&alice, &format!("geocode?query={}", encoded("강남구 물레길 132"))).await;
        let first = &found["addresses"][0];
        assert_eq!((&first["lat"], &first["lng"]), (&json!(SHOPS[0].place.lat), &json!(SHOPS[0].place.lng)));
        let at = |lat: f64, lng: f64| format!("reverse-geocode?lat={lat}&lng={lng}");
        let here = get(&alice, &at(SHOPS[0].place.lat, SHOPS[0].place.lng)).await;
        assert_eq!(here["address"]["road_address"], "서울 강남구 물레길 132");
        // A few metres on it is the same, without another call; at sea there is none.
        assert_eq!(get(&alice, &at(SHOPS[0].place.lat + 0.000_01, SHOPS[0].place.lng)).await, here);
        assert_eq!(get(&alice, &at(35.0, 125.0)).await["address"], Value::Null);
        assert_eq!(asked(&mesh).await, [("address", 1), ("coord2address", 2)].into());
        let mut connection = mesh.redis.connect().await;
        let keys: Vec<String> =
            redis::cmd("KEYS").arg("location:geocode:*").query_async(&mut connection).await.unwrap();
        let ttl: i64 = redis::cmd("TTL").arg(&keys[0]).query_async(&mut connection).await.unwrap();
        assert!((86_000..=86_400).contains(&ttl), "{ttl}");
        assert!(!keys[0].contains("132"), "what somebody looked for is in no key");
        // Each costs a call of the day's: nobody unknown asks.
        mesh.rest()
            .get(&format!("/api/v1/location/{}", at(HALL.lat, HALL.lng)))
            .send()
            .await
            .refused(401, "TOKEN_MISSING");
    });
}

#[test]
fn an_address_that_nobody_answers_for_is_told_so_and_asked_for_again() {
    run(async {
        let (mesh, alice) = begun().await;
        for change in [json!({"kind": "error", "status": 429}), json!({"kind": "garbage"}), json!({"kind": "reset"})] {
            fault(&mesh, change).await;
            let refused = alice.get("/api/v1/location/geocode?query=x").await;
            refused.refused(503, "PROVIDER_UNAVAILABLE");
            assert!(!refused.header("retry-after").is_empty());
            mended(&mesh).await;
        }
        assert_eq!(get(&alice, "geocode?query=x").await["addresses"], json!([]), "a failure is not kept");
    });
}
