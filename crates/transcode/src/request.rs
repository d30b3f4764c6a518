//! From an HTTP request to the encoded request message.
//!
//! The parts are written one after another, and protobuf's rule that the last value wins and messages merge is the
//! precedence of the parts: body, then query, then path.

mod any;
mod collection;
mod cx;
mod json;
pub(crate) mod mask;
mod query;
mod scalar;

use bytes::Bytes;
use coreloop_core::{Problem, Reason, Violation};
use serde::de::DeserializeSeed as _;

use self::{
    cx::Cx,
    json::{FieldSeed, MessageSeed},
    query::{Query, Wrong},
    scalar::Fault,
};
use crate::{
    router::{Body, Route, Router, Vars},
    shape::{Field, Kind, Message, Shapes, WellKnown},
    wire,
};

/// The parts of an HTTP request that the message is made of.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What the path captured.
    pub vars: &'a Vars<'a>,
    /// Raw query, without `?`; empty when there is none.
    pub query: &'a str,
    /// Media type of the body.
    pub content_type: Option<&'a str>,
    /// Body.
    pub body: &'a [u8],
    /// `Idempotency-Key` header: fills `edge.idempotency_field` when the request leaves it empty.
    pub idempotency_key: Option<&'a str>,
}

/// Turns requests into messages. Holds no state of its own.
#[derive(Debug, Clone, Copy)]
pub struct Decoder<'r> {
    router: &'r Router,
    strict: bool,
}

impl<'r> Decoder<'r> {
    /// A decoder for the routes of a router.
    #[must_use]
    pub fn new(router: &'r Router) -> Self {
        Self { router, strict: false }
    }

    /// Refuses unknown fields and query parameters of every route, not only of those that say so.
    #[must_use]
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    fn refuses_unknown(&self, route: &Route) -> bool {
        self.strict || route.edge.strict
    }

    /// The encoded request message.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: MALFORMED_REQUEST for what is not JSON or not a query, VALIDATION_FAILED naming the field for a
    /// value that its type does not admit, UNSUPPORTED_MEDIA_TYPE for a body that is neither JSON nor taken raw.
    pub fn decode(&self, route: &Route, input: &Input<'_>) -> Result<Bytes, Problem> {
        let mut out = Vec::with_capacity(input.body.len().min(64 * 1024) + 64);
        self.body(route, input, &mut out)?;
        if !matches!(route.body, Body::Whole) {
            self.query(route, input.query, &mut out)?;
        } else if self.refuses_unknown(route) && !input.query.is_empty() {
            return Err(malformed("the query of this request is not read"));
        }
        self.path(route, input.vars, &mut out)?;
        self.implied_mask(route, input.body, &mut out);
        if let (Some(key), Some(at)) = (input.idempotency_key, route.plan.idempotency) {
            let number = self.request(route).field(at).number;
            if !mask::given(&out, number) {
                wire::bytes(&mut out, number, key.as_bytes());
            }
        }
        Ok(out.into())
    }

    /// A message of a client's stream, in JSON.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn message(&self, route: &Route, text: &[u8]) -> Result<Bytes, Problem> {
        let mut out = Vec::with_capacity(text.len());
        json(self.shapes(), text, self.refuses_unknown(route), |cx, deserializer| {
            MessageSeed { cx, index: route.plan.input, out: &mut out }.deserialize(deserializer)
        })?;
        Ok(out.into())
    }

    fn shapes(&self) -> &'r Shapes {
        &self.router.shapes
    }

    fn request(&self, route: &Route) -> &'r Message {
        self.shapes().message(route.plan.input)
    }

    fn body(&self, route: &Route, input: &Input<'_>, out: &mut Vec<u8>) -> Result<(), Problem> {
        let (shapes, request) = (self.shapes(), self.request(route));
        match (&route.body, route.plan.body_field) {
            (Body::Absent, _) => Ok(()),
            (Body::Whole, _) if request.known == Some(WellKnown::HttpBody) => {
                raw(input, out);
                Ok(())
            }
            (Body::Whole, _) => json_body(shapes, input, self.refuses_unknown(route), |cx, deserializer| {
                MessageSeed { cx, index: route.plan.input, out }.deserialize(deserializer)
            }),
            (Body::Field(_), Some(at)) => {
                let field = request.field(at);
                if matches!(field.kind, Kind::Message(m) if shapes.message(m).known == Some(WellKnown::HttpBody)) {
                    let start = wire::open(out, field.number);
                    raw(input, out);
                    wire::close(out, start);
                    return Ok(());
                }
                json_body(shapes, input, self.refuses_unknown(route), |cx, deserializer| {
                    let wrote = FieldSeed { cx: &mut *cx, field, out }.deserialize(deserializer);
                    wrote.map(|_| ()).map_err(|error| cx.at(field.name.as_str(), error))
                })
            }
            (Body::Field(_), None) => Ok(()),
        }
    }

    fn query(&self, route: &Route, query: &str, out: &mut Vec<u8>) -> Result<(), Problem> {
        if query.is_empty() {
            return Ok(());
        }
        let plan = &route.plan;
        let bound = |path: &[usize]| {
            path.first().copied() == plan.body_field && plan.body_field.is_some()
                || plan.vars.iter().any(|var| path.starts_with(var))
        };
        let reader = Query {
            shapes: self.shapes(),
            input: plan.input,
            strict: self.refuses_unknown(route),
            secrets: route.http_method == "GET",
            bound: &bound,
            body_oneof: plan.body_field.and_then(|at| self.request(route).field(at).oneof),
        };
        reader.write(query, out).map_err(|wrong| match wrong {
            Wrong::Query(fault) => malformed(fault),
            Wrong::Parameter(name, fault) => invalid(name, fault),
        })
    }

    fn path(&self, route: &Route, vars: &Vars<'_>, out: &mut Vec<u8>) -> Result<(), Problem> {
        for (at, (path, variable)) in route.plan.vars.iter().zip(route.template.variables()).enumerate() {
            let value = vars.decode(route, at).ok_or_else(|| malformed("the path has a malformed escape"))?;
            query::field(self.shapes(), route.plan.input, path, &value, out)
                .map_err(|fault| invalid(variable.path.clone(), fault))?;
        }
        Ok(())
    }

    /// PATCH without a mask means the fields that the body names.
    fn implied_mask(&self, route: &Route, body: &[u8], out: &mut Vec<u8>) {
        let (Some(mask_at), Some(body_at)) = (route.plan.mask, route.plan.body_field) else { return };
        let request = self.request(route);
        let number = request.field(mask_at).number;
        let Kind::Message(index) = request.field(body_at).kind else { return };
        if mask::given(out, number) {
            return;
        }
        // Read a second time: only PATCH without a mask pays.
        let Ok(json) = serde_json::from_slice(body) else { return };
        let start = wire::open(out, number);
        for path in mask::paths(self.shapes(), index, &json) {
            wire::bytes(out, 1, path.as_bytes());
        }
        wire::close(out, start);
    }
}

/// The body as an HttpBody.
fn raw(input: &Input<'_>, out: &mut Vec<u8>) {
    if let Some(content_type) = input.content_type {
        wire::bytes(out, 1, content_type.as_bytes());
    }
    wire::bytes(out, 2, input.body);
}

/// The encoded message of a full name that `body` says; unknown fields are left out.
pub(crate) fn from_json(shapes: &Shapes, full_name: &str, body: &[u8]) -> Result<Bytes, Problem> {
    let index = shapes.index(full_name).ok_or_else(|| Problem::internal(format!("no message `{full_name}`")))?;
    let mut out = Vec::with_capacity(body.len());
    json(shapes, body, false, |cx, deserializer| MessageSeed { cx, index, out: &mut out }.deserialize(deserializer))?;
    Ok(out.into())
}

/// Reads the body as one JSON value; an empty one is the default message.
fn json_body<'r, F>(shapes: &'r Shapes, input: &Input<'_>, strict: bool, read: F) -> Result<(), Problem>
where
    F: FnOnce(&mut Cx<'r>, &mut serde_json::Deserializer<serde_json::de::SliceRead<'_>>) -> serde_json::Result<()>,
{
    if input.body.trim_ascii().is_empty() {
        return Ok(());
    }
    if !is_json(input.content_type) {
        let text = "the body must be `application/json`";
        return Err(Problem::common(Reason::UnsupportedMediaType, text));
    }
    json(shapes, input.body, strict, read)
}

/// Reads `body` as one JSON value.
fn json<'r, F>(shapes: &'r Shapes, body: &[u8], strict: bool, read: F) -> Result<(), Problem>
where
    F: FnOnce(&mut Cx<'r>, &mut serde_json::Deserializer<serde_json::de::SliceRead<'_>>) -> serde_json::Result<()>,
{
    let mut cx = Cx::new(shapes, strict);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let done = read(&mut cx, &mut deserializer).and_then(|()| deserializer.end());
    done.map_err(|error| match cx.fault {
        Some(fault) => invalid(cx.place(), fault),
        None if error.is_data() => invalid(cx.place(), "has the wrong JSON type"),
        // Syntax errors of serde_json name a place and what was expected, never a value.
        None => malformed(format!("the body is not JSON: {error}")),
    })
}

/// A parameter whose type is written as JSON.
fn json_text(shapes: &Shapes, field: &Field, text: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut cx = Cx::new(shapes, false);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    json::ValueSeed { cx: &mut cx, kind: field.kind, tag: field.number, out }
        .deserialize(&mut deserializer)
        .and_then(|_| deserializer.end())
        .map_err(|_| cx.fault.unwrap_or("must be JSON"))
}

/// No content type, `application/json`, or a `+json` type.
fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.is_empty() || essence == "application/json" || essence.ends_with("+json")
}

fn malformed(message: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::common(Reason::MalformedRequest, message)
}

fn invalid(field: String, fault: Fault) -> Problem {
    let field = if field.is_empty() { "body".to_owned() } else { field };
    Problem::invalid(vec![Violation { field, description: fault.to_owned() }])
}
