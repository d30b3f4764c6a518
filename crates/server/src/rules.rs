//! The rules of request messages (`buf.validate`), fields that only the server sets, and the one character that no text of a
//! request may hold: U+0000, which PostgreSQL keeps in no text.

use std::sync::Arc;

use bytes::Bytes;
use coreloop_core::{Problem, Reason, Violation};
use coreloop_transcode::options;
use prost::Message as _;
use prost_protovalidate::{Error, Validator};
use prost_reflect::{DynamicMessage, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value};

/// Most fields told to hold U+0000: the list is the caller's to make long.
const MOST_TOLD: usize = 16;

/// What is to be looked at in the requests of one RPC. RPCs whose message has neither rules nor text have none of these, and
/// their messages are not decoded twice.
pub(crate) struct Rules {
    message: MessageDescriptor,
    validator: Arc<Validator>,
    found: Found,
}

impl Rules {
    pub(crate) fn of(message: MessageDescriptor, validator: &Arc<Validator>) -> Option<Self> {
        let mut seen = Vec::new();
        let found = look(&message, &mut seen);
        (found.validated || found.guarded || found.text).then(|| Self {
            message,
            validator: Arc::clone(validator),
            found,
        })
    }

    /// Checks a message; answers it anew when something had to be taken out.
    pub(crate) fn apply(&self, message: &Bytes) -> Result<Option<Bytes>, Problem> {
        // U+0000 is a zero byte; a message may have others, but hardly any has one.
        let zero = self.found.text && message.contains(&0);
        if !(self.found.validated || self.found.guarded || zero) {
            return Ok(None);
        }
        let mut decoded = DynamicMessage::decode(self.message.clone(), message.clone()).map_err(|error| {
            Problem::common(Reason::MalformedRequest, "the message cannot be decoded").because(error)
        })?;
        let taken_out = self.found.guarded && take_out(&mut decoded);
        let mut violations = Vec::new();
        if zero {
            zeros_in(&decoded, "", &mut violations);
        }
        if self.found.validated {
            self.validate(&decoded, &mut violations)?;
        }
        if !violations.is_empty() {
            return Err(Problem::invalid(violations));
        }
        Ok(taken_out.then(|| Bytes::from(decoded.encode_to_vec())))
    }

    fn validate(&self, message: &DynamicMessage, violations: &mut Vec<Violation>) -> Result<(), Problem> {
        let broken = match self.validator.validate(message) {
            Ok(()) => return Ok(()),
            Err(Error::Validation(broken)) => broken,
            Err(other) => return Err(Problem::internal(other)),
        };
        violations.extend(broken.violations().iter().map(|violation| Violation {
            field: violation.field_path(),
            description: match violation.message() {
                "" => violation.rule_id().to_owned(),
                text => text.to_owned(),
            },
        }));
        Ok(())
    }
}

/// What there is to look at in a message and those within it.
#[derive(Default)]
struct Found {
    validated: bool,
    /// Some field may be set by the server only.
    guarded: bool,
    /// Some field is text.
    text: bool,
}

fn look(message: &MessageDescriptor, seen: &mut Vec<String>) -> Found {
    let mut found = Found::default();
    if seen.iter().any(|name| name == message.full_name()) {
        return found;
    }
    seen.push(message.full_name().to_owned());
    found.validated |= has_rules(&message.options());
    found.validated |= message.oneofs().any(|oneof| has_rules(&oneof.options()));
    for field in message.fields() {
        found.validated |= has_rules(&field.options());
        found.guarded |= options::field_rule(&field).server_only;
        match field.kind() {
            Kind::Message(inner) => {
                let below = look(&inner, seen);
                found.validated |= below.validated;
                found.guarded |= below.guarded;
                found.text |= below.text;
            }
            Kind::String => found.text = true,
            _ => {}
        }
    }
    found
}

fn has_rules(options: &DynamicMessage) -> bool {
    options.extensions().any(|(extension, _)| extension.full_name().starts_with("buf.validate."))
}

/// Clears what only the server sets; true when anything was set.
fn take_out(message: &mut DynamicMessage) -> bool {
    let mut taken = false;
    for field in message.descriptor().fields() {
        if options::field_rule(&field).server_only {
            taken |= message.has_field(&field);
            message.clear_field(&field);
        } else if message.has_field(&field) && matches!(field.kind(), Kind::Message(_)) {
            taken |= match message.get_field_mut(&field) {
                Value::Message(inner) => take_out(inner),
                Value::List(list) => list.iter_mut().map(take_out_of).filter(|taken| *taken).count() > 0,
                // Counted, not `any`: that would stop at the first.
                Value::Map(map) => map.values_mut().map(take_out_of).filter(|taken| *taken).count() > 0,
                _ => false,
            };
        }
    }
    taken
}

fn take_out_of(value: &mut Value) -> bool {
    value.as_message_mut().is_some_and(take_out)
}

/// Tells the texts of a message that hold U+0000. `path` is the message's own; empty for the request.
fn zeros_in(message: &DynamicMessage, path: &str, found: &mut Vec<Violation>) {
    for (field, value) in message.fields() {
        let path = if path.is_empty() { field.name().to_owned() } else { format!("{path}.{}", field.name()) };
        zeros_of(value, &path, found);
    }
}

fn zeros_of(value: &Value, path: &str, found: &mut Vec<Violation>) {
    let mut text = |text: &str| {
        if text.contains('\0') && found.len() < MOST_TOLD {
            found.push(Violation { field: path.to_owned(), description: "must not contain U+0000".to_owned() });
        }
    };
    match value {
        Value::String(value) => text(value),
        // A key is the caller's own words, so the path does not tell it.
        Value::Map(map) => {
            map.keys().filter_map(MapKey::as_str).for_each(text);
            map.values().for_each(|value| zeros_of(value, path, found));
        }
        Value::List(list) => {
            list.iter().enumerate().for_each(|(index, item)| zeros_of(item, &format!("{path}[{index}]"), found));
        }
        Value::Message(inner) => zeros_in(inner, path, found),
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use coreloop_auth_api::v1;
    use coreloop_transcode::descriptor;

    use super::*;

    fn rules(message: &str) -> Option<Rules> {
        Rules::of(descriptor::pool().get_message_by_name(message).unwrap(), &Arc::new(Validator::new()))
    }

    #[test]
    fn messages_without_rules_are_not_looked_at() {
        assert!(rules("coreloop.edge.v1.GetReadinessRequest").is_none());
        assert!(rules("coreloop.auth.v1.GetJwksRequest").is_none());
        assert!(rules("coreloop.auth.v1.MintInternalTokenRequest").is_some());
    }

    #[test]
    fn every_violation_is_listed_with_its_field() {
        let problem = rules("coreloop.auth.v1.MintInternalTokenRequest").unwrap().apply(&Bytes::new()).unwrap_err();
        let status = tonic::Status::from(problem);
        let details = tonic_types::StatusExt::get_error_details(&status);
        let fields: Vec<_> =
            details.bad_request().unwrap().field_violations.iter().map(|violation| violation.field.clone()).collect();
        assert_eq!(fields, ["service", "audience", "proof"]);
        assert_eq!(details.error_info().unwrap().reason, "VALIDATION_FAILED");
    }

    #[test]
    fn bytes_that_are_no_message_are_malformed() {
        let broken = Bytes::from_static(b"\x0a\xff");
        let problem = rules("coreloop.auth.v1.MintInternalTokenRequest").unwrap().apply(&broken).unwrap_err();
        assert_eq!(problem.reason(), "MALFORMED_REQUEST");
    }

    fn told(problem: Problem) -> Vec<(String, String)> {
        let details = tonic_types::StatusExt::get_error_details(&tonic::Status::from(problem));
        let violations = details.bad_request().unwrap().field_violations.clone();
        violations.into_iter().map(|violation| (violation.field, violation.description)).collect()
    }

    #[test]
    fn a_zero_in_a_text_is_refused_beside_what_else_is_wrong() {
        let login = |device_id: &str, password: &str| v1::LoginRequest {
            email: "a@example.com".to_owned(),
            password: password.to_owned(),
            device_id: device_id.to_owned(),
            ..v1::LoginRequest::default()
        };
        let rules = rules("coreloop.auth.v1.LoginRequest").unwrap();
        let apply = |request: v1::LoginRequest| rules.apply(&request.encode_to_vec().into());
        assert!(apply(login("a phone", "12345678")).unwrap().is_none());
        let problem = apply(login("a\0phone", "12345678")).unwrap_err();
        assert_eq!(problem.reason(), "VALIDATION_FAILED");
        let zero = |field: &str| (field.to_owned(), "must not contain U+0000".to_owned());
        assert_eq!(told(problem), [zero("device_id")]);
        let both = told(apply(login("a\0phone", "")).unwrap_err());
        assert_eq!((both.len(), &both[0], both[1].0.as_str()), (2, &zero("device_id"), "password"));
    }

    #[test]
    fn a_zero_is_found_in_lists_and_maps_and_a_number_is_none() {
        use coreloop_auth_api::envoy::{
            config::core::v3::{HeaderMap, HeaderValue},
            service::auth::v3::{
                AttributeContext, CheckRequest,
                attribute_context::{HttpRequest, Request},
            },
        };
        let rules = rules("envoy.service.auth.v3.CheckRequest").unwrap();
        let told = |http: HttpRequest| {
            let request = Request { http: Some(http), time: None };
            let attributes = AttributeContext { request: Some(request), ..AttributeContext::default() };
            let message = CheckRequest { attributes: Some(attributes) }.encode_to_vec();
            rules.apply(&message.into()).err().map_or_else(Vec::new, told)
        };
        let header = |value: &str| HeaderValue { key: "x".to_owned(), value: value.to_owned(), raw_value: vec![0] };
        let map = |headers: Vec<HeaderValue>| Some(HeaderMap { headers });
        let nothing = HttpRequest { header_map: map(vec![header("a")]), ..HttpRequest::default() };
        assert!(told(nothing).is_empty(), "bytes may hold zeros");
        let found = HttpRequest {
            headers: [("a\0".to_owned(), "b".to_owned()), ("c".to_owned(), "\0".to_owned())].into(),
            header_map: map(vec![header("a"), header("b\0")]),
            ..HttpRequest::default()
        };
        let mut fields: Vec<_> = told(found).into_iter().map(|(field, _)| field).collect();
        fields.sort();
        let http = "attributes.request.http";
        let (headers, value) = (format!("{http}.headers"), format!("{http}.header_map.headers[1].value"));
        assert_eq!(fields, [value, headers.clone(), headers]);
        let many = HttpRequest { header_map: map(vec![header("\0"); 100]), ..HttpRequest::default() };
        assert_eq!(told(many).len(), MOST_TOLD);
    }

    /// A rule that does not compile would be found by the first caller otherwise.
    #[test]
    fn every_rule_of_every_request_compiles() {
        let validator = Arc::new(Validator::new());
        for method in descriptor::pool().services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let Some(rules) = Rules::of(method.input(), &validator) else { continue };
            match rules.validator.validate(&DynamicMessage::new(method.input())) {
                Ok(()) | Err(Error::Validation(_)) => {}
                Err(error) => panic!("{}: {error}", method.full_name()),
            }
        }
    }
}
