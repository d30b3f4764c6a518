//! Each RPC refuses a message that breaks the rules of its fields, and names the field.

use coreloop_image_api::v1::FindImageRequest;
use coreloop_testkit::{rpc, run};
use http::Method;
use prost::Message as _;
use serde_json::{Value, json};

use super::stage::MESH;

/// RPC, how it is asked over REST, and the field that is wrong.
fn wrong() -> Vec<(&'static str, Method, &'static str, Value, &'static str)> {
    let upload = |more: Value| {
        let mut body = json!({"mime_type": "image/png", "content_length": 9});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let at = |lat: f64, lng: f64| upload(json!({"gps": {"lat": lat, "lng": lng}}));
    let create = |body: Value, field| ("CreateUpload", Method::POST, "/api/v1/image/presigned", body, field);
    let register = |body: Value, field| ("RegisterImage", Method::POST, "/api/v1/image/callback", body, field);
    vec![
        create(upload(json!({"mime_type": "image/gif"})), "mime_type"),
        create(upload(json!({"mime_type": "gif"})), "mime_type"),
        create(json!({"content_length": 9}), "mime_type"),
        create(json!({"mime_type": "image/png"}), "content_length"),
        create(upload(json!({"content_length": 10_485_761})), "content_length"),
        create(upload(json!({"content_length": -1})), "content_length"),
        create(upload(json!({"device_id": "x".repeat(129)})), "device_id"),
        create(at(90.1, 0.0), "gps.lat"),
        create(at(0.0, -180.1), "gps.lng"),
        register(json!({"object_key": "x".repeat(257), "etag": "1"}), "object_key"),
        register(json!({"cdn_url": "x".repeat(2_049), "etag": "1"}), "cdn_url"),
        register(json!({"object_key": "uploads/a", "etag": "a b"}), "etag"),
        ("GetImage", Method::GET, "/api/v1/image/none", Value::Null, "image_id"),
        ("ListImages", Method::GET, "/api/v1/image?page_size=201", Value::Null, "page_size"),
        ("DeleteImage", Method::DELETE, "/api/v1/image/none", Value::Null, "image_id"),
    ]
}

#[test]
fn what_breaks_the_rules_of_its_fields_is_refused_by_every_rpc() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        for (rpc, method, path, body, field) in wrong() {
            let call = alice.call(method, path);
            let refused = if body.is_null() { call.send().await } else { call.json(&body).send().await };
            refused.refused(400, "VALIDATION_FAILED");
            assert!(refused.text().contains(field), "{rpc}: {field}: {}", refused.text());
        }
        // The most that may be.
        let most =
            json!({"mime_type": "image/heic", "content_length": 10_485_760, "gps": {"lat": -90.0, "lng": 180.0}});
        alice.post("/api/v1/image/presigned", &most).await.expect(200);
        // A format for short.
        let short = json!({"mime_type": "heic", "content_length": 9});
        let place = alice.post("/api/v1/image/presigned", &short).await.expect(200);
        assert_eq!(place["headers"]["Content-Type"], "image/heic");

        let bearer = format!("Bearer {}", mesh.machine_token("scan", "image").await);
        let asked = FindImageRequest { image_id: "none".to_owned() }.encode_to_vec();
        let path = "/coreloop.image.v1.ImageInternalService/FindImage";
        let refused = rpc::call(&mesh.grpc("image"), path, &asked, &[("authorization", &bearer)]).await.unwrap_err();
        assert_eq!(rpc::reason(&refused), "VALIDATION_FAILED", "{refused}");
    });
}
