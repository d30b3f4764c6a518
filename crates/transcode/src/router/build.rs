//! From http rules to routes: everything that can be wrong with a rule is found here, at the start.

use std::collections::HashMap;

use coreloop_core::pb::google::api::{CustomHttpPattern, HttpRule, http_rule::Pattern};
use prost_reflect::{DescriptorPool, FieldDescriptor, MethodDescriptor};

use super::{Body, Route, deprecation};
use crate::{
    options,
    shape::{Card, Kind as ShapeKind, Shapes, WellKnown},
    template::{Template, TemplateError},
};

/// Why a binding cannot be served. The text names the method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The path template breaks the grammar.
    #[error("{method}: {source}")]
    Template {
        /// Full name of the method.
        method: String,
        /// What is wrong.
        source: TemplateError,
    },
    /// The rule says something that cannot be served.
    #[error("{method}: {problem}")]
    Rule {
        /// Full name of the method.
        method: String,
        /// What is wrong.
        problem: String,
    },
    /// Two bindings match the same requests.
    #[error("{method}: {http_method} {shape} is already bound by {other}")]
    Duplicate {
        /// Full name of the later method.
        method: String,
        /// Full name of the earlier method.
        other: String,
        /// HTTP method of both.
        http_method: String,
        /// Template without variable names.
        shape: String,
    },
}

/// What the codec needs of a route, as indexes of shapes.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) input: usize,
    pub(crate) output: usize,
    /// Top-level field that the HTTP body is.
    pub(crate) body_field: Option<usize>,
    /// Field path of each template variable.
    pub(crate) vars: Vec<Vec<usize>>,
    /// FieldMask that PATCH fills from the body's keys when the client sends none.
    pub(crate) mask: Option<usize>,
    pub(crate) response_field: Option<usize>,
    pub(crate) redirect: Option<usize>,
    pub(crate) idempotency: Option<usize>,
}

type Built = (Vec<Route>, HashMap<String, MethodDescriptor>);

/// All routes of the pool's `coreloop.*` services.
pub(crate) fn routes(pool: &DescriptorPool, shapes: &Shapes) -> Result<Built, Vec<RouteError>> {
    let mut routes = Vec::new();
    let mut rpcs = HashMap::new();
    let mut errors = Vec::new();
    for service in pool.services().filter(|s| s.full_name().starts_with("coreloop.")) {
        for method in service.methods() {
            rpcs.insert(rpc_path(&method), method.clone());
            of_method(&method, shapes, &mut routes, &mut errors);
        }
    }
    duplicates(&routes, &mut errors);
    if errors.is_empty() { Ok((routes, rpcs)) } else { Err(errors) }
}

fn rpc_path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

fn of_method(method: &MethodDescriptor, shapes: &Shapes, routes: &mut Vec<Route>, errors: &mut Vec<RouteError>) {
    let fail = |problem: &str| RouteError::Rule { method: method.full_name().to_owned(), problem: problem.to_owned() };
    let edge = options::edge(method).unwrap_or_default();
    let whole = deprecation::whole(method, &edge).unwrap_or_else(|problem| {
        errors.push(fail(&problem));
        None
    });
    let Some(rule) = options::http(method) else { return };
    let rule: HttpRule = match rule.transcode_to() {
        Ok(rule) => rule,
        Err(error) => return errors.push(fail(&format!("unreadable http rule: {error}"))),
    };
    let bindings = || std::iter::once(&rule).chain(&rule.additional_bindings);
    if method.is_client_streaming() && !(edge.socket && method.is_server_streaming() && bindings().all(is_plain_get)) {
        return errors
            .push(fail("a client stream has no REST form but a socket, where the server streams, too, by GET"));
    }
    for binding in bindings() {
        if !std::ptr::eq(binding, &rule) && !binding.additional_bindings.is_empty() {
            errors.push(fail("additional bindings do not nest"));
        }
        match of_binding(method, binding, routes.len(), shapes) {
            Ok(mut route) => {
                route.deprecated = route.deprecated.or_else(|| whole.clone());
                routes.push(route);
            }
            Err(error) => errors.push(error),
        }
    }
    for deprecated in edge.deprecated_bindings.iter().filter(|deprecated| !deprecated.path.is_empty()) {
        if !bindings().filter_map(pattern).any(|(_, path)| path == deprecated.path) {
            errors.push(fail(&format!("deprecated binding `{}` is not a binding", deprecated.path)));
        }
    }
}

/// A handshake is a GET, and has no body.
fn is_plain_get(rule: &HttpRule) -> bool {
    rule.body.is_empty() && pattern(rule).is_some_and(|(method, _)| method == "GET")
}

fn of_binding(method: &MethodDescriptor, rule: &HttpRule, index: usize, shapes: &Shapes) -> Result<Route, RouteError> {
    let name = method.full_name();
    let fail = |problem: String| RouteError::Rule { method: name.to_owned(), problem };
    let (http_method, path) = pattern(rule).ok_or_else(|| fail("no usable pattern".into()))?;
    let template = Template::parse(path).map_err(|source| RouteError::Template { method: name.to_owned(), source })?;
    let input = method.input();
    let field = |field: &str| {
        let found = input.get_field_by_name(field);
        found.ok_or_else(|| fail(format!("request has no field `{field}`")))
    };
    let body = match rule.body.as_str() {
        "" => Body::Absent,
        "*" => Body::Whole,
        other => Body::Field(field(other)?),
    };
    let output = method.output();
    let response_body = match rule.response_body.as_str() {
        "" => None,
        other => {
            let found = output.get_field_by_name(other);
            Some(found.ok_or_else(|| fail(format!("response has no field `{other}`")))?)
        }
    };
    let edge = options::edge(method).unwrap_or_default();
    let parts =
        Parts { method, shapes, template: &template, body: &body, response: response_body.as_ref(), edge: &edge };
    let plan = parts.plan(http_method).map_err(fail)?;
    let deprecated = deprecation::of_binding(&edge, path).map_err(fail)?;
    Ok(Route {
        index,
        rpc_path: rpc_path(method),
        http_method: http_method.to_owned(),
        deprecated,
        server_streaming: method.is_server_streaming(),
        access: options::access(method),
        rate_limit: options::rate_limit(method).filter(|limit| !limit.windows.is_empty()),
        method: method.clone(),
        template,
        body,
        response_body,
        edge,
        plan,
    })
}

/// HTTP method and path of a binding.
fn pattern(rule: &HttpRule) -> Option<(&str, &str)> {
    Some(match rule.pattern.as_ref()? {
        Pattern::Get(path) => ("GET", path),
        Pattern::Put(path) => ("PUT", path),
        Pattern::Post(path) => ("POST", path),
        Pattern::Delete(path) => ("DELETE", path),
        Pattern::Patch(path) => ("PATCH", path),
        Pattern::Custom(CustomHttpPattern { kind, path }) if !kind.is_empty() => (kind, path),
        Pattern::Custom(_) => return None,
    })
}

struct Parts<'a> {
    method: &'a MethodDescriptor,
    shapes: &'a Shapes,
    template: &'a Template,
    body: &'a Body,
    response: Option<&'a FieldDescriptor>,
    edge: &'a crate::pb::option::Edge,
}

impl Parts<'_> {
    fn plan(&self, http_method: &str) -> Result<Plan, String> {
        let index = |full_name: &str| self.shapes.index(full_name).ok_or_else(|| format!("`{full_name}` is unknown"));
        let input = index(self.method.input().full_name())?;
        let output = index(self.method.output().full_name())?;
        let (request, response) = (self.shapes.message(input), self.shapes.message(output));
        let text = |message: &crate::shape::Message, name: &str| match name {
            "" => Ok(None),
            name => match message.named(name) {
                Some(at) if message.field(at).kind == ShapeKind::String && message.field(at).card != Card::List => {
                    Ok(Some(at))
                }
                _ => Err(format!("`{name}` is not a string field of {}", message.name)),
            },
        };
        let body_field = match self.body {
            Body::Field(field) => request.named(field.name()),
            Body::Absent | Body::Whole => None,
        };
        let is_mask =
            |kind| matches!(kind, ShapeKind::Message(m) if self.shapes.message(m).known == Some(WellKnown::FieldMask));
        let mask = match body_field {
            Some(body) if http_method == "PATCH" && matches!(request.field(body).kind, ShapeKind::Message(_)) => {
                request.fields.iter().position(|f| is_mask(f.kind) && f.card == Card::Presence)
            }
            _ => None,
        };
        Ok(Plan {
            input,
            output,
            body_field,
            vars: self.template.variables().iter().map(|v| self.variable(&v.path, input)).collect::<Result<_, _>>()?,
            mask,
            response_field: self.response.and_then(|f| response.named(f.name())),
            redirect: text(response, &self.edge.redirect_field)?,
            idempotency: text(request, &self.edge.idempotency_field)?,
        })
    }

    /// Field path of a variable: singular messages, then a singular scalar or a well-known message with a text form.
    fn variable(&self, path: &str, input: usize) -> Result<Vec<usize>, String> {
        let mut message = self.shapes.message(input);
        let mut indexes = Vec::new();
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let at = message.fields.iter().position(|f| f.name == name);
            let at = at.ok_or_else(|| format!("`{}` has no field `{name}` for variable `{path}`", message.name))?;
            let field = message.field(at);
            indexes.push(at);
            if matches!(field.card, Card::List | Card::Map) {
                return Err(format!("variable `{path}` must be singular"));
            }
            match (field.kind, names.peek().is_some()) {
                (ShapeKind::Message(next), true) => message = self.shapes.message(next),
                (ShapeKind::Message(last), false) if !has_text_form(self.shapes.message(last).known) => {
                    return Err(format!("variable `{path}` is a message"));
                }
                (_, false) => {}
                (_, true) => return Err(format!("`{name}` of variable `{path}` is not a message")),
            }
        }
        Ok(indexes)
    }
}

fn has_text_form(known: Option<WellKnown>) -> bool {
    use WellKnown::{Duration, FieldMask, Timestamp, Wrapper};
    matches!(known, Some(Timestamp | Duration | FieldMask | Wrapper))
}

fn duplicates(routes: &[Route], errors: &mut Vec<RouteError>) {
    let mut seen: HashMap<(String, &str), &Route> = HashMap::new();
    for route in routes {
        let shape = route.template.shape();
        if let Some(earlier) = seen.get(&(shape.clone(), route.http_method.as_str())) {
            errors.push(RouteError::Duplicate {
                method: route.method.full_name().to_owned(),
                other: earlier.method.full_name().to_owned(),
                http_method: route.http_method.clone(),
                shape,
            });
        } else {
            seen.insert((shape, route.http_method.as_str()), route);
        }
    }
}
