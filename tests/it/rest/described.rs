//! What the edge says of itself: OpenAPI, documentation, keys, metadata, health.

use std::collections::HashSet;

use coreloop_transcode::router;
use serde_json::Value;

in_both_topologies! {
    async fn openapi_contains_every_route_and_only_those(mesh) {
        let document = mesh.rest().get("/openapi.json").send().await.expect(200);
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let mut described = HashSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|key| ["get", "put", "post", "delete", "patch"].contains(&key.as_str())) {
                described.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        let routes = router::router().routes();
        for route in routes {
            let plain = plain_path(route.template.source());
            let known = format!("{} {plain}", route.http_method);
            assert!(described.contains(&known), "{known} is not described");
        }
        assert!(described.len() <= routes.len(), "something is described that is no route");
    }

    async fn openapi_refers_to_nothing_that_is_missing(mesh) {
        let document = mesh.rest().get("/openapi.json").send().await.expect(200);
        let mut references = Vec::new();
        collect_references(&document, &mut references);
        assert!(references.len() > 20);
        for reference in references {
            let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads outside"));
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    async fn the_documentation_needs_nothing_from_outside(mesh) {
        let page = mesh.rest().get("/docs").send().await;
        assert_eq!(page.status, 200);
        assert!(page.header("content-type").starts_with("text/html"));
        for outside in ["src=\"http", "href=\"http", "src='http", "@import", "//cdn"] {
            assert!(!page.text().contains(outside), "{outside}");
        }
    }

    async fn the_keys_are_public_and_only_that(mesh) {
        let keys = mesh.rest().get("/.well-known/jwks.json").send().await.expect(200);
        let keys = keys["keys"].as_array().unwrap();
        assert!(keys.len() >= 2, "active and next");
        for key in keys {
            assert_eq!((key["use"].as_str(), key["alg"].as_str().is_some()), (Some("sig"), true));
            assert!(key["kid"].as_str().is_some_and(|kid| !kid.is_empty()));
            for private in ["d", "p", "q", "dp", "dq", "qi", "k", "oth"] {
                assert!(key.get(private).is_none(), "{private} of {key}");
            }
        }
    }

    async fn the_openid_metadata_names_the_keys(mesh) {
        let metadata = mesh.rest().get("/.well-known/openid-configuration").send().await.expect(200);
        assert!(metadata["issuer"].as_str().unwrap().starts_with("http"));
        assert!(metadata["jwks_uri"].as_str().unwrap().ends_with("/.well-known/jwks.json"));
    }

    async fn health_answers_by_each_of_its_paths(mesh) {
        for path in ["/api/v1/health", "/healthz"] {
            let health = mesh.rest().get(path).send().await.expect(200);
            assert_eq!(health["status"], "ok");
        }
        let ready = mesh.rest().get("/readyz").send().await.expect(200);
        assert_eq!(ready["status"], "ready");
        // Before a first snapshot every token is refused, so readiness waits for it.
        let parts: Vec<_> = ready["components"].as_array().unwrap().iter().map(|part| &part["name"]).collect();
        assert!(parts.iter().any(|name| *name == "process/revocations"), "{ready}");
    }

    async fn metrics_are_for_administrators(mesh) {
        mesh.rest().get("/metrics").send().await.refused(401, "TOKEN_MISSING");
        mesh.persona("alice").await.get("/api/v1/metrics").await.refused(403, "ROLE_REQUIRED");
        let metrics = mesh.admin().await.get("/metrics").await;
        assert_eq!(metrics.status, 200);
        assert!(metrics.text().contains("# TYPE"), "{}", metrics.text());
    }
}

/// The path as OpenAPI writes it: `{name=shops/*}` is `{name}`, `{name=shops}` is `shops`.
fn plain_path(template: &str) -> String {
    let mut plain = String::new();
    let mut rest = template;
    while let Some((before, inside)) = rest.split_once('{') {
        let (variable, after) = inside.split_once('}').unwrap();
        plain.push_str(before);
        match variable.split_once('=') {
            Some((_, pattern)) if !pattern.contains('*') => plain.push_str(pattern),
            other => plain.push_str(&format!("{{{}}}", other.map_or(variable, |(name, _)| name))),
        }
        rest = after;
    }
    plain + rest
}

fn collect_references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                match inner.as_str() {
                    Some(reference) if key == "$ref" => into.push(reference),
                    _ => collect_references(inner, into),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| collect_references(inner, into)),
        _ => {}
    }
}
