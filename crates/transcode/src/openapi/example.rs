//! An example of each message, made from its types and rules: always the same for the same descriptors.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::constraint;
use crate::options;

/// Deepest message shown.
const DEPTH: usize = 4;

/// An example of a message without some of its fields.
pub(super) fn message(of: &MessageDescriptor, without: &[&str]) -> Value {
    nested(of, without, 0)
}

fn nested(of: &MessageDescriptor, without: &[&str], depth: usize) -> Value {
    if let Some(known) = well_known(of) {
        return known;
    }
    let mut fields: Vec<FieldDescriptor> = of.fields().collect();
    fields.sort_by_key(|f| f.path().last().copied());
    let mut oneofs = Vec::new();
    let mut out = Map::new();
    for field in fields {
        let member_of = field.containing_oneof().filter(|o| o.fields().len() > 1).map(|o| o.full_name().to_owned());
        let second = member_of.as_ref().is_some_and(|o| oneofs.contains(o));
        let unsaid = second || options::field_rule(&field).server_only || constraint::may_be_left_out(&field);
        if without.contains(&field.name()) || unsaid {
            continue;
        }
        oneofs.extend(member_of);
        if let Some(value) = field_value(&field, depth) {
            out.insert(field.name().to_owned(), value);
        }
    }
    out.into()
}

fn field_value(field: &FieldDescriptor, depth: usize) -> Option<Value> {
    if field.is_map() {
        return Some(json!({}));
    }
    let one = match field.kind() {
        Kind::Message(inner) if depth < DEPTH => nested(&inner, &[], depth + 1),
        Kind::Message(_) => return None,
        Kind::Enum(declared) => declared.values().find(|v| v.number() > 0)?.name().into(),
        Kind::Bool => json!(true),
        Kind::Double | Kind::Float => json!(1.5),
        Kind::String => text(field),
        Kind::Bytes => json!("AA=="),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64
            if !options::field_rule(field).safe_integer =>
        {
            json!("1")
        }
        _ => least(field),
    };
    Some(if field.is_list() { json!([one]) } else { one })
}

/// A number its rules admit.
fn least(field: &FieldDescriptor) -> Value {
    let keywords = keywords(field);
    keywords.get("minimum").filter(|m| m.as_i64().is_some_and(|m| m > 1)).cloned().unwrap_or_else(|| json!(1))
}

/// Text its rules admit, as far as names and formats tell.
fn text(field: &FieldDescriptor) -> Value {
    let keywords = keywords(field);
    if let Some(first) = keywords.get("examples").or(keywords.get("enum")).and_then(|e| e.get(0)) {
        return first.clone();
    }
    let chosen = match (keywords.get("format").and_then(Value::as_str), field.name()) {
        (Some("uuid"), _) => "0192f0c1-2b3c-7d4e-8f50-61728394a5b6",
        (Some("uri"), _) => "https://example.com/callback",
        (Some("email"), _) | (_, "email") => "mina@example.com",
        (_, name) if name.ends_with("password") => "correct horse battery staple",
        (_, name) if name.ends_with("_token") || name == "token" => "eyJhbGciOiJSUzI1NiJ9.e30.c2ln",
        (_, "provider") => "google",
        (_, "birth_date") => "2000-01-31",
        (_, name) if name.ends_with("_id") || name == "id" => "0192f0c1-2b3c-7d4e-8f50-61728394a5b6",
        _ => "text",
    };
    let length = |key: &str| keywords.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let mut chosen = chosen.to_owned();
    while length("minLength").is_some_and(|min| chosen.chars().count() < min.min(128)) {
        chosen.push('0');
    }
    if let Some(max) = length("maxLength") {
        chosen = chosen.chars().take(max).collect();
    }
    chosen.into()
}

fn keywords(field: &FieldDescriptor) -> Map<String, Value> {
    let mut keywords = Map::new();
    if let Some(rules) = constraint::rules(field) {
        constraint::apply(&rules, &mut keywords);
    }
    keywords
}

fn well_known(of: &MessageDescriptor) -> Option<Value> {
    Some(match of.full_name() {
        "google.protobuf.Timestamp" => json!("2026-01-31T09:00:00Z"),
        "google.protobuf.Duration" => json!("3.500s"),
        "google.protobuf.FieldMask" => json!("displayName"),
        "google.protobuf.Struct" | "google.protobuf.Empty" => json!({}),
        "google.protobuf.Value" => json!("text"),
        "google.protobuf.ListValue" => json!([]),
        "google.protobuf.Any" => json!({"@type": "type.googleapis.com/google.protobuf.Empty", "value": {}}),
        name if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
            field_value(&of.get_field_by_name("value")?, DEPTH)?
        }
        _ => return None,
    })
}
