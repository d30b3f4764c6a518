//! The OpenAPI document: complete, closed, and the same every time.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::odd;
use crate::{
    openapi::{Info, document},
    pb::option::Level,
    router::router,
};

fn info() -> Info {
    Info { title: "coreloop".into(), version: "1.2.3".into(), server_url: "https://api.example.com".into() }
}

/// Calls with every `$ref` of a document.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("$ref", Value::String(target)) => found.push(target.clone()),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_route_is_described_once() {
    let document = document(router(), &info());
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"], json!([{"url": "https://api.example.com"}]));
    let operations: Vec<&Value> =
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values()).collect();
    let outside = router().routes().iter().filter(|r| !r.access.is_some_and(|a| a.mesh_only)).count();
    assert_eq!(operations.len(), outside);
    let ids: HashSet<&str> = operations.iter().map(|o| o["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), outside);
    for operation in operations {
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{operation}");
        assert!(operation["responses"].get("default").is_some());
    }
}

#[test]
fn references_are_closed() {
    for router in [router(), odd()] {
        let document = document(router, &info());
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for target in found {
            assert!(document.pointer(target.trim_start_matches('#')).is_some_and(|v| v.is_object()), "{target}");
        }
    }
}

#[test]
fn document_is_deterministic() {
    let text = |document: Value| serde_json::to_string(&document).unwrap();
    assert_eq!(text(document(router(), &info())), text(document(router(), &info())));
}

#[test]
fn sign_in_is_described() {
    let document = document(router(), &info());
    let login = &document["paths"]["/api/v1/auth/login"]["post"];
    assert_eq!(login["security"], json!([]));
    assert_eq!(login["x-reasons"], json!(["INVALID_CREDENTIALS", "ACCOUNT_LOCKED"]));
    assert_eq!(login["x-rate-limit"]["subject"], "ip");
    assert_eq!(login["x-rate-limit"]["windows"][0], json!({"max": 10, "per_secs": 60}));
    assert!(login["description"].as_str().unwrap().contains("**Idempotency**"));
    assert_eq!(login["requestBody"]["content"]["application/json"]["example"]["email"], "mina@example.com");
    let request = &document["components"]["schemas"]["coreloop.auth.v1.LoginRequest"];
    assert_eq!(request["required"], json!(["email", "password"]));
    assert_eq!(request["properties"]["email"]["maxLength"], 254);
    assert_eq!(request["properties"]["password"]["format"], "password");
    assert_eq!(
        request["properties"]["device_name"]["description"],
        "Name of the device, shown in the list of sessions."
    );
    // The path of a variable with literals is what a client types.
    assert!(document["paths"].get("/v1/auth/oauth/google").is_some());
    assert_eq!(
        document["paths"]["/api/v1/auth/signup"]["post"]["responses"].as_object().unwrap().keys().next().unwrap(),
        "201"
    );
    assert_eq!(document["x-reasons"]["auth"]["EMAIL_TAKEN"]["en"].as_str().map(str::is_empty), Some(false));
}

#[test]
fn security_follows_access() {
    let document = document(router(), &info());
    for route in router().routes() {
        let path = crate::openapi::path_of(route);
        let operation = &document["paths"][&path][route.http_method.to_lowercase()];
        let access = route.access.unwrap();
        let expected = match access.level() {
            Level::Public => json!([]),
            Level::Optional => json!([{}, {"user": []}]),
            Level::Admin => json!([{"admin": []}]),
            Level::Internal => json!([{"machine": []}]),
            _ if access.admins => json!([{"user": []}, {"admin": []}]),
            _ => json!([{"user": []}]),
        };
        if !access.mesh_only {
            assert_eq!(operation["security"], expected, "{path}");
            assert_eq!(operation["x-access"]["admins"].as_bool().unwrap_or_default(), access.admins, "{path}");
        }
    }
}

#[test]
fn odd_shapes_are_described() {
    let document = document(odd(), &info());
    let everything = &document["components"]["schemas"]["coreloop.odd.v1.Everything"]["properties"];
    assert_eq!(everything.as_object().unwrap().keys().next().unwrap(), "a_string");
    for (field, expected) in [
        ("an_int64", json!({"type": "string", "pattern": "^-?[0-9]+$"})),
        ("safe", json!({"type": "integer", "format": "int64"})),
        ("a_bytes", json!({"type": "string", "contentEncoding": "base64"})),
        ("labels", json!({"type": "object", "additionalProperties": {"type": "string"}})),
        ("inners", json!({"type": "array", "items": {"$ref": "#/components/schemas/coreloop.odd.v1.Inner"}})),
        ("a_time", json!({"type": "string", "format": "date-time"})),
        ("an_int64_value", json!({"type": "string", "pattern": "^-?[0-9]+$"})),
        ("stamped", json!({"type": "string", "readOnly": true})),
        ("choice_text", json!({"type": "string", "x-oneof": "choice"})),
        ("a_value", json!({})),
    ] {
        assert_eq!(everything[field], expected, "{field}");
    }
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/v1/shops/{name}/m",
        "/v1/shops/{name_1}/items/{name_2}",
        "/v1/files/{name}:stat",
        "/v1/{segment_2}/anonymous",
        "/v1/whole/{a_string}/{an_inner.count}",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    let body = &paths["/v1/whole/{a_string}/{an_inner.count}"]["post"]["requestBody"]["content"]["application/json"];
    assert_eq!(body["schema"]["properties"].get("a_string"), None);
    assert!(paths["/v1/upload"]["post"]["requestBody"]["content"].get("*/*").is_some());
    assert!(paths["/v1/watch"]["get"]["responses"]["200"]["content"].get("text/event-stream").is_some());
    assert_eq!(paths["/v1/m/{name}"]["get"]["deprecated"], true);
    let old = &paths["/v1/old/{name}"]["get"];
    assert_eq!(old["deprecated"], true);
    assert!(old["description"].as_str().unwrap().contains("use `/v1/m/{name}`"));
    let strict = &paths["/v1/strict"]["post"]["parameters"];
    assert_eq!(strict[0]["name"], "Idempotency-Key");
}
