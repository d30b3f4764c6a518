//! The rules of request messages (`buf.validate`) and fields that only the server sets.

use std::sync::Arc;

use bytes::Bytes;
use coreloop_core::{Problem, Reason, Violation};
use coreloop_transcode::options;
use prost::Message as _;
use prost_protovalidate::{Error, Validator};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, ReflectMessage as _, Value};

/// What is to be looked at in the requests of one RPC. RPCs whose message has no rules have none of these, and their
/// messages are not decoded twice.
pub(crate) struct Rules {
    message: MessageDescriptor,
    validator: Arc<Validator>,
    validated: bool,
    /// Some field may be set by the server only.
    guarded: bool,
}

impl Rules {
    pub(crate) fn of(message: MessageDescriptor, validator: &Arc<Validator>) -> Option<Self> {
        let mut seen = Vec::new();
        let found = look(&message, &mut seen);
        (found.validated || found.guarded).then(|| Self {
            message,
            validator: Arc::clone(validator),
            validated: found.validated,
            guarded: found.guarded,
        })
    }

    /// Checks a message; answers it anew when something had to be taken out.
    pub(crate) fn apply(&self, message: &Bytes) -> Result<Option<Bytes>, Problem> {
        let mut decoded = DynamicMessage::decode(self.message.clone(), message.clone()).map_err(|error| {
            Problem::common(Reason::MalformedRequest, "the message cannot be decoded").because(error)
        })?;
        let taken_out = self.guarded && take_out(&mut decoded);
        if self.validated {
            self.validator.validate(&decoded).map_err(problem)?;
        }
        Ok(taken_out.then(|| Bytes::from(decoded.encode_to_vec())))
    }
}

fn problem(error: Error) -> Problem {
    match error {
        Error::Validation(broken) => Problem::invalid(
            broken
                .violations()
                .iter()
                .map(|violation| Violation {
                    field: violation.field_path(),
                    description: match violation.message() {
                        "" => violation.rule_id().to_owned(),
                        text => text.to_owned(),
                    },
                })
                .collect(),
        ),
        other => Problem::internal(other),
    }
}

#[derive(Default)]
struct Found {
    validated: bool,
    guarded: bool,
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
        if let Kind::Message(inner) = field.kind() {
            let below = look(&inner, seen);
            found.validated |= below.validated;
            found.guarded |= below.guarded;
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
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
