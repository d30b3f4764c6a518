//! Each RPC refuses a message that breaks the rules of its fields, and names the field.

use coreloop_testkit::run;
use http::Method;
use serde_json::{Value, json};

use super::stage::{MESH, SHOPS};

/// RPC, how it is asked over REST, and the field that is wrong.
fn wrong() -> Vec<(&'static str, Method, String, Value, &'static str)> {
    let get = |rpc, path: &str, field| (rpc, Method::GET, format!("/api/v1/location/{path}"), Value::Null, field);
    let post = |rpc, path: &str, body, field| (rpc, Method::POST, format!("/api/v1/location/{path}"), body, field);
    let id = &SHOPS[0].id;
    vec![
        get("ListShops", "shops?lng=0", "lat"),
        get("ListShops", "shops?lat=91&lng=0", "lat"),
        get("ListShops", "shops?lat=0&lng=0&radius=20001", "radius"),
        get("GetShop", "shops/none", "shop_id"),
        get("SearchShops", "search", "q"),
        get("ListSites", "sites?lat=0&lng=181", "lng"),
        get("Geocode", "geocode", "query"),
        get("ReverseGeocode", "reverse-geocode?lat=0", "lng"),
        get("ListFavorites", "favorites?page_size=201", "page_size"),
        post("AddFavorite", "favorites", json!({"shop_id": "none"}), "shop_id"),
        ("RemoveFavorite", Method::DELETE, "/api/v1/location/favorites/none".to_owned(), Value::Null, "shop_id"),
        post("Visit", "visits", json!({"shop_id": id, "lat": 0}), "lng"),
    ]
}

#[test]
fn what_breaks_the_rules_of_its_fields_is_refused_by_every_rpc() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        for (rpc, method, path, body, field) in wrong() {
            let call = alice.call(method, &path);
            let refused = if body.is_null() { call.send().await } else { call.json(&body).send().await };
            refused.refused(400, "VALIDATION_FAILED");
            assert!(refused.text().contains(field), "{rpc}: {field}: {}", refused.text());
        }
    });
}
