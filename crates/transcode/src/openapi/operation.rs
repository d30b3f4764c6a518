//! One binding as an OpenAPI operation.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::{
    comment::{Comments, Parts},
    example,
    schema::{Schemas, describe},
};
use crate::{
    options,
    pb::option::{Level, LimitSubject},
    router::{Body, Route},
    template::{Segment, Template},
};

/// Deepest message whose fields are query parameters.
const QUERY_DEPTH: usize = 3;

/// Writes operations and gathers the schemas they need.
#[derive(Debug)]
pub(super) struct Operations<'c> {
    pub(super) schemas: Schemas<'c>,
    pub(super) comments: &'c Comments,
    /// Operation ids and how often each was given.
    pub(super) ids: Map<String, Value>,
}

/// The template as OpenAPI has it: one parameter for each wildcard.
pub(super) fn path(template: &Template) -> String {
    template.fill(|at| format!("{{{}}}", parameter(template, at)))
}

/// Name of the parameter for wildcard segment `at`.
fn parameter(template: &Template, at: usize) -> String {
    let wild = |range: std::ops::Range<usize>| {
        let segments = template.segments().get(range).unwrap_or_default();
        segments.iter().filter(|s| !matches!(s, Segment::Literal(_))).count()
    };
    match template.variables().iter().find(|v| (v.start..v.end).contains(&at)) {
        None => format!("segment_{}", at + 1),
        Some(v) if wild(v.start..v.end) == 1 => v.path.clone(),
        Some(v) => format!("{}_{}", v.path, wild(v.start..at + 1)),
    }
}

impl Operations<'_> {
    /// The operation of a route.
    pub(super) fn of(&mut self, route: &Route) -> Value {
        let parts = self.comments.method(&route.method);
        let service = route.method.parent_service();
        let mut out = Map::new();
        out.insert("tags".into(), json!([service.name()]));
        out.insert("operationId".into(), self.id(&format!("{}_{}", service.name(), route.method.name())).into());
        out.insert("summary".into(), parts.what.split_inclusive(". ").next().unwrap_or_default().trim().into());
        out.insert("description".into(), description(&parts, route).into());
        if route.deprecated.is_some() {
            out.insert("deprecated".into(), true.into());
        }
        let parameters = self.parameters(route);
        if !parameters.is_empty() {
            out.insert("parameters".into(), parameters.into());
        }
        if let Some(body) = self.request_body(route) {
            out.insert("requestBody".into(), body);
        }
        out.insert("responses".into(), self.responses(route));
        out.insert("security".into(), security(route));
        extensions(route, parts, &mut out);
        if route.method.is_client_streaming() {
            out.insert("x-websocket-message".into(), self.schemas.message(&route.method.input()));
        }
        out.into()
    }

    fn id(&mut self, base: &str) -> String {
        let count = self.ids.get(base).and_then(Value::as_u64).unwrap_or_default() + 1;
        self.ids.insert(base.to_owned(), count.into());
        if count == 1 { base.to_owned() } else { format!("{base}_{count}") }
    }

    fn parameters(&mut self, route: &Route) -> Vec<Value> {
        let mut out = Vec::new();
        for (at, segment) in route.template.segments().iter().enumerate() {
            if matches!(segment, Segment::Literal(_)) {
                continue;
            }
            let variable = route.template.variables().iter().find(|v| (v.start..v.end).contains(&at));
            let field =
                variable.filter(|v| v.end - v.start == 1).and_then(|v| field_at(&route.method.input(), &v.path));
            let schema = field.map_or_else(|| json!({"type": "string"}), |field| self.schemas.field(&field));
            out.push(json!({"name": parameter(&route.template, at), "in": "path", "required": true, "schema": schema}));
        }
        if !matches!(route.body, Body::Whole) {
            self.query(route, &route.method.input(), "", 0, &mut out);
        }
        if !route.edge.idempotency_field.is_empty() {
            let text = format!("Fills `{}` when the body leaves it empty.", route.edge.idempotency_field);
            out.push(
                json!({"name": "Idempotency-Key", "in": "header", "description": text, "schema": {"type": "string"}}),
            );
        }
        out
    }

    fn query(&mut self, route: &Route, message: &MessageDescriptor, above: &str, depth: usize, out: &mut Vec<Value>) {
        let mut fields: Vec<FieldDescriptor> = message.fields().collect();
        fields.sort_by_key(|f| f.path().last().copied());
        for field in fields {
            let name = if above.is_empty() { field.name().to_owned() } else { format!("{above}.{}", field.name()) };
            let in_body = matches!(&route.body, Body::Field(body) if body.name() == name);
            let in_path = route.template.variables().iter().any(|v| v.path == name);
            let rule = options::field_rule(&field);
            let unread = rule.server_only || (rule.secret && route.http_method != "GET");
            if in_body || in_path || unread {
                continue;
            }
            match field.kind() {
                Kind::Message(entry) if field.is_map() => {
                    let value = entry.get_field(2).map(|value| self.schemas.field(&value));
                    let schema = json!({"type": "object", "additionalProperties": value});
                    out.push(json!({"name": name, "in": "query", "style": "deepObject", "schema": schema}));
                }
                Kind::Message(inner) if !inner.full_name().starts_with("google.") => {
                    if !field.is_list() && depth < QUERY_DEPTH {
                        self.query(route, &inner, &name, depth + 1, out);
                    }
                }
                Kind::Message(inner)
                    if matches!(
                        inner.full_name(),
                        "google.api.HttpBody" | "google.protobuf.Any" | "google.protobuf.Empty"
                    ) => {}
                _ => {
                    let schema = self.schemas.field(&field);
                    let mut parameter = Map::new();
                    parameter.insert("name".into(), name.into());
                    parameter.insert("in".into(), "query".into());
                    describe(&mut parameter, self.comments.field(&field));
                    if super::constraint::required(&field) {
                        parameter.insert("required".into(), true.into());
                    }
                    parameter.insert("schema".into(), schema);
                    out.push(parameter.into());
                }
            }
        }
    }

    fn request_body(&mut self, route: &Route) -> Option<Value> {
        let input = route.method.input();
        let (schema, shown) = match &route.body {
            Body::Absent => return None,
            Body::Whole if is_raw(&input) => return Some(raw_content("The content itself.")),
            Body::Whole => {
                // What the path binds need not be repeated in the body.
                let bound: Vec<&str> = route.template.variables().iter().map(|v| v.path.as_str()).collect();
                let schema =
                    if bound.is_empty() { self.schemas.message(&input) } else { self.schemas.object(&input, &bound) };
                (schema, example::message(&input, &bound))
            }
            Body::Field(field) => {
                if matches!(field.kind(), Kind::Message(m) if is_raw(&m)) {
                    return Some(raw_content(self.comments.field(field)));
                }
                let shown = example::message(&input, &[]).get(field.name()).cloned().unwrap_or_default();
                (self.schemas.field(field), shown)
            }
        };
        Some(json!({"required": true, "content": {"application/json": {"schema": schema, "example": shown}}}))
    }

    fn responses(&mut self, route: &Route) -> Value {
        let mut out = Map::new();
        let status = if route.edge.success_status == 0 { 200 } else { route.edge.success_status };
        out.insert(status.to_string(), self.success(route));
        if !route.edge.redirect_field.is_empty() {
            out.insert(
                "302".into(),
                json!({
                    "description": "The way on is in `Location`.",
                    "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
                }),
            );
        }
        let level = route.access.map_or(Level::Unspecified, |a| a.level());
        let mut failures = vec!["400"];
        if level != Level::Public {
            failures.extend(["401", "403"]);
        }
        if route.rate_limit.is_some() {
            failures.push("429");
        }
        failures.push("default");
        for failure in failures {
            out.insert(failure.into(), json!({"$ref": "#/components/responses/Error"}));
        }
        out.into()
    }

    fn success(&mut self, route: &Route) -> Value {
        let output = route.method.output();
        let description = match self.comments.message(&output) {
            "" => "Done.",
            comment => comment,
        };
        let raw = match &route.response_body {
            None => is_raw(&output),
            Some(field) => matches!(field.kind(), Kind::Message(m) if is_raw(&m)),
        };
        if raw {
            return json!({"description": description, "content": {"*/*": {"schema": {}}}});
        }
        let whole = example::message(&output, &[]);
        let (schema, shown) = match &route.response_body {
            None => (self.schemas.message(&output), whole),
            Some(field) => (self.schemas.field(field), whole.get(field.name()).cloned().unwrap_or_default()),
        };
        if route.server_streaming {
            let error = json!({"$ref": "#/components/schemas/google.rpc.Status"});
            let line = json!({"type": "object", "properties": {"result": schema, "error": error}});
            return json!({
                "description": format!("{description}\n\nA stream: one JSON object a line; the last may be an error.{}", socket(route)),
                "content": {
                    "application/json": {"schema": line, "example": {"result": shown}},
                    "text/event-stream": {"schema": schema},
                },
            });
        }
        json!({"description": description, "content": {"application/json": {"schema": schema, "example": shown}}})
    }
}

/// The other way to have a stream.
fn socket(route: &Route) -> &'static str {
    match (route.edge.socket, route.method.is_client_streaming()) {
        (false, _) => "",
        (true, false) => " With `Upgrade: websocket` each object is a text message of a WebSocket.",
        (true, true) => {
            " With `Upgrade: websocket` alone (else 426): each object is a text message of a WebSocket, and each text of the client \
             is an object of `x-websocket-message`; what the query says, if anything, is the first."
        }
    }
}

/// What it does, then the labelled lines.
fn description(parts: &Parts, route: &Route) -> String {
    let mut out = parts.what.clone();
    for (label, text) in
        [("Permission", &parts.permission), ("Idempotency", &parts.idempotency), ("Emits", &parts.emits)]
    {
        if !text.is_empty() {
            out.push_str(&format!("\n\n**{label}**: {text}"));
        }
    }
    if !parts.reasons.is_empty() {
        out.push_str(&format!("\n\n**Reasons**: `{}`", parts.reasons.join("`, `")));
    }
    if let Some(successor) = route.deprecated.as_ref().and_then(|deprecated| deprecated.successor.as_ref()) {
        out.push_str(&format!("\n\n**Deprecated**: use `{successor}`."));
    }
    out
}

/// What OpenAPI has no word for.
fn extensions(route: &Route, parts: Parts, out: &mut Map<String, Value>) {
    out.insert("x-rpc".into(), route.rpc_path.clone().into());
    if let Some(access) = route.access {
        let level = access.level().as_str_name().trim_start_matches("LEVEL_");
        let mut said = json!({"level": level, "fresh": access.fresh});
        if let (true, Some(said)) = (access.admins, said.as_object_mut()) {
            said.insert("admins".into(), true.into());
        }
        out.insert("x-access".into(), said);
    }
    if !parts.reasons.is_empty() {
        out.insert("x-reasons".into(), parts.reasons.into());
    }
    if let Some(limit) = &route.rate_limit {
        let subject = match limit.subject() {
            LimitSubject::Ip => "ip",
            LimitSubject::Unspecified | LimitSubject::Caller => "caller",
        };
        let windows: Vec<Value> = limit
            .windows
            .iter()
            .map(|w| json!({"max": w.max, "per_secs": w.per.as_ref().map(|p| p.seconds)}))
            .collect();
        out.insert("x-rate-limit".into(), json!({"subject": subject, "windows": windows}));
    }
    if route.edge.socket {
        out.insert("x-websocket".into(), json!({"late_token": route.access.is_some_and(|access| access.late_token)}));
    }
    if route.edge.max_body_bytes > 0 {
        out.insert("x-max-body-bytes".into(), route.edge.max_body_bytes.into());
    }
}

fn security(route: &Route) -> Value {
    let access = route.access.unwrap_or_default();
    match access.level() {
        Level::Public => json!([]),
        Level::Optional => json!([{}, {"user": []}]),
        Level::Standard | Level::Premium | Level::Vip if access.admins => json!([{"user": []}, {"admin": []}]),
        Level::Standard | Level::Premium | Level::Vip => json!([{"user": []}]),
        Level::Admin | Level::Unspecified => json!([{"admin": []}]),
        Level::Internal => json!([{"machine": []}]),
    }
}

fn raw_content(description: &str) -> Value {
    json!({"description": description, "required": true, "content": {"*/*": {"schema": {}}}})
}

fn is_raw(message: &MessageDescriptor) -> bool {
    message.full_name() == "google.api.HttpBody"
}

fn field_at(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    let mut message = message.clone();
    let mut names = path.split('.').peekable();
    loop {
        let field = message.get_field_by_name(names.next()?)?;
        if names.peek().is_none() {
            return Some(field);
        }
        message = match field.kind() {
            Kind::Message(next) => next,
            _ => return None,
        };
    }
}
