//! What the edge says of itself: OpenAPI, documentation, keys, metadata, health.

use std::collections::HashSet;

use coreloop_transcode::router::{self, Match};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
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

    // Who knows nothing but the metadata can verify a token.
    async fn by_the_openid_metadata_a_token_is_verified(mesh) {
        let rest = mesh.rest();
        let metadata = rest.get("/.well-known/openid-configuration").send().await.expect(200);
        let keys = rest.get(path_of(&metadata["jwks_uri"])).send().await.expect(200);
        let keys: JwkSet = serde_json::from_value(keys).unwrap();
        let token = mesh.persona("alice").await.access_token;
        let header = jsonwebtoken::decode_header(&token).unwrap();
        let algorithms: Vec<Algorithm> =
            serde_json::from_value(metadata["id_token_signing_alg_values_supported"].clone()).unwrap();
        assert_eq!(algorithms, [header.alg], "those of users' tokens and no other");
        let key = keys.find(header.kid.as_ref().unwrap()).expect("the key of the token is published");
        let mut rules = Validation::new(header.alg);
        rules.set_issuer(&[metadata["issuer"].as_str().unwrap()]);
        rules.validate_exp = false;
        rules.validate_aud = false;
        let verified = jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_jwk(key).unwrap(), &rules).unwrap();
        let told: HashSet<&str> = strings(&metadata["claims_supported"]);
        let carried: HashSet<&str> = verified.claims.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(told, carried);
        let mut other = rules.clone();
        other.set_issuer(&["https://other.example"]);
        assert!(jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_jwk(key).unwrap(), &other).is_err());
    }

    async fn the_openid_metadata_names_endpoints_that_there_are(mesh) {
        let metadata = mesh.rest().get("/.well-known/openid-configuration").send().await.expect(200);
        let mut named = Vec::new();
        for (member, method) in [
            ("authorization_endpoint", "GET"),
            ("token_endpoint", "POST"),
            ("userinfo_endpoint", "GET"),
            ("end_session_endpoint", "POST"),
            ("jwks_uri", "GET"),
        ] {
            let found = router::router().find(method, path_of(&metadata[member]));
            assert!(matches!(found, Match::Found { .. }), "{member}: {}", metadata[member]);
            named.push(member);
        }
        let members = metadata.as_object().unwrap().keys();
        for member in members.filter(|name| name.ends_with("_endpoint") || name.ends_with("_uri")) {
            assert!(named.contains(&member.as_str()), "{member} is looked at by no test");
        }
        mesh.rest().get(path_of(&metadata["authorization_endpoint"])).send().await.expect(200);
        // What Discovery requires beside (section 3).
        for required in ["response_types_supported", "subject_types_supported"] {
            assert!(!strings(&metadata[required]).is_empty(), "{required}");
        }
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

/// The path of an address.
fn path_of(address: &Value) -> &str {
    let address = address.as_str().unwrap_or_else(|| panic!("{address} is no address"));
    let (_, after) = address.split_once("://").unwrap();
    &after[after.find('/').unwrap()..]
}

fn strings(list: &Value) -> HashSet<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
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
