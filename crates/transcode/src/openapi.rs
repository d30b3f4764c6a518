//! OpenAPI 3.1 from the descriptors.
//!
//! Paths are as a client types them: the literals of a variable are written out (`{name=shops/*}` is `/shops/{name}`).
//! Everything is in the order of declaration and schemas by name, so equal descriptors give equal text and a
//! difference in the committed document is a difference in the contract.

mod comment;
mod constraint;
mod example;
mod operation;
mod schema;

use serde_json::{Map, Value, json};

use self::{comment::Comments, operation::Operations, schema::Schemas};
use crate::{
    options,
    router::{Route, Router},
};

/// What the document says of itself.
#[derive(Debug, Clone)]
pub struct Info {
    /// Title of the API.
    pub title: String,
    /// Version of the API.
    pub version: String,
    /// Base address of the edge; empty leaves `servers` out.
    pub server_url: String,
}

/// The OpenAPI 3.1 document of every route but those that never pass the edge.
#[must_use]
pub fn document(router: &Router, info: &Info) -> Value {
    let comments = Comments::new(&router.pool);
    let mut operations = Operations { schemas: Schemas::new(&comments), comments: &comments, ids: Map::new() };
    let mut paths = Map::new();
    let mut tags: Vec<Value> = Vec::new();
    for route in router.routes() {
        // OpenAPI names eight methods; a custom kind has no place in it.
        let known = matches!(
            route.http_method.as_str(),
            "GET" | "PUT" | "POST" | "DELETE" | "PATCH" | "HEAD" | "OPTIONS" | "TRACE"
        );
        if !known || route.access.is_some_and(|a| a.mesh_only) {
            continue;
        }
        let service = &route.method.parent_service();
        if !tags.iter().any(|t| t["name"] == service.name()) {
            tags.push(json!({"name": service.name(), "description": comments.service(service)}));
        }
        let item = paths.entry(path_of(route)).or_insert_with(|| json!({}));
        let operation = operations.of(route);
        if let Value::Object(item) = item {
            item.entry(route.http_method.to_lowercase()).or_insert(operation);
        }
    }
    let mut schemas = operations.schemas;
    if let Some(status) = router.pool.get_message_by_name("google.rpc.Status") {
        schemas.message(&status);
    }
    let mut out = Map::new();
    out.insert("openapi".into(), json!("3.1.0"));
    out.insert("info".into(), json!({"title": info.title, "version": info.version}));
    if !info.server_url.is_empty() {
        out.insert("servers".into(), json!([{"url": info.server_url}]));
    }
    out.insert("tags".into(), tags.into());
    out.insert("paths".into(), paths.into());
    out.insert(
        "components".into(),
        json!({
            "schemas": schemas.finish(),
            "responses": {"Error": error_response()},
            "securitySchemes": security_schemes(),
        }),
    );
    out.insert("x-reasons".into(), reasons(router));
    Value::Object(out)
}

/// The path of a route as the document has it.
#[must_use]
pub fn path_of(route: &Route) -> String {
    operation::path(&route.template)
}

fn error_response() -> Value {
    json!({
        "description": "A failure. `details` holds an ErrorInfo with a stable reason, a BadRequest that names each wrong field, and a RetryInfo when a retry makes sense.",
        "content": {"application/json": {
            "schema": {"$ref": "#/components/schemas/google.rpc.Status"},
            "example": {
                "code": 3,
                "message": "the request breaks the rules of its fields",
                "details": [
                    {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "VALIDATION_FAILED", "domain": "coreloop", "metadata": {}},
                    {"@type": "type.googleapis.com/google.rpc.BadRequest", "field_violations": [{"field": "email", "description": "must be an address"}]},
                ],
            },
        }},
    })
}

fn security_schemes() -> Value {
    let bearer = |description: &str| json!({"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": description});
    json!({
        "user": bearer("Access token of a signed-in user."),
        "admin": bearer("Access token of the admin audience, from the sign-in with a second factor."),
        "machine": bearer("Internal token whose audience is the target service."),
    })
}

/// Every stable reason, by domain.
fn reasons(router: &Router) -> Value {
    let mut domains: Vec<_> = options::catalogue(&router.pool).into_iter().collect();
    domains.sort_by(|(a, _), (b, _)| a.cmp(b));
    let sorted = domains.into_iter().map(|(domain, reasons)| {
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by(|(a, _), (b, _)| a.cmp(b));
        let texts = reasons.into_iter().map(|(reason, text)| (reason, json!({"en": text.en, "ko": text.ko})));
        (domain, Value::Object(texts.collect()))
    });
    Value::Object(sorted.collect())
}
