//! Rules of protovalidate as JSON Schema keywords.

use prost_reflect::{DynamicMessage, FieldDescriptor, MapKey, Value as Proto};
use serde_json::{Map, Value, json};

/// The rules of a field, when it has some.
pub(super) fn rules(field: &FieldDescriptor) -> Option<DynamicMessage> {
    let extension = field.parent_pool().get_extension_by_name("buf.validate.field")?;
    let options = field.options();
    if !options.has_extension(&extension) {
        return None;
    }
    options.get_extension(&extension).as_message().cloned()
}

/// The field must be sent: said so, or its zero value breaks its rules.
pub(super) fn required(field: &FieldDescriptor) -> bool {
    let Some(rules) = rules(field) else { return false };
    if boolean(&rules, "required") {
        return true;
    }
    if field.supports_presence() || ignored_at_zero(&rules) {
        return false;
    }
    let positive = |kind: &str, keys: &[&str]| {
        sub(&rules, kind).is_some_and(|r| keys.iter().any(|key| number(&r, key).is_some_and(|n| n > 0)))
    };
    positive("string", &["min_len", "len"])
        || positive("bytes", &["min_len", "len"])
        || positive("repeated", &["min_items"])
        || sub(&rules, "string").is_some_and(|r| boolean(&r, "uuid") || boolean(&r, "email"))
}

/// The field may be left out, and its rules then ask nothing of it.
pub(super) fn may_be_left_out(field: &FieldDescriptor) -> bool {
    rules(field).is_some_and(|rules| ignored_at_zero(&rules))
}

fn ignored_at_zero(rules: &DynamicMessage) -> bool {
    number(rules, "ignore") == Some(1)
}

/// Adds the keywords of a field's rules to its schema.
pub(super) fn apply(rules: &DynamicMessage, schema: &mut Map<String, Value>) {
    for (descriptor, value) in rules.fields() {
        let Some(rule) = value.as_message() else {
            if descriptor.name() == "cel" {
                cel(value, schema);
            }
            continue;
        };
        match descriptor.name() {
            "string" => string(rule, schema),
            "bytes" | "enum" | "any" | "bool" => {}
            "repeated" => {
                copy(rule, "min_items", schema, "minItems");
                copy(rule, "max_items", schema, "maxItems");
                if boolean(rule, "unique") {
                    schema.insert("uniqueItems".into(), true.into());
                }
                if let (Some(items), Some(Value::Object(inner))) = (sub(rule, "items"), schema.get_mut("items")) {
                    apply(&items, inner);
                }
            }
            "map" => {
                copy(rule, "min_pairs", schema, "minProperties");
                copy(rule, "max_pairs", schema, "maxProperties");
            }
            "duration" | "timestamp" => {}
            _ => numeric(rule, schema),
        }
    }
}

fn string(rule: &DynamicMessage, schema: &mut Map<String, Value>) {
    copy(rule, "min_len", schema, "minLength");
    copy(rule, "max_len", schema, "maxLength");
    copy(rule, "len", schema, "minLength");
    copy(rule, "len", schema, "maxLength");
    copy(rule, "pattern", schema, "pattern");
    copy(rule, "const", schema, "const");
    copy(rule, "in", schema, "enum");
    copy(rule, "example", schema, "examples");
    for (flag, format) in [
        ("email", "email"),
        ("uuid", "uuid"),
        ("uri", "uri"),
        ("uri_ref", "uri-reference"),
        ("hostname", "hostname"),
        ("ipv4", "ipv4"),
        ("ipv6", "ipv6"),
    ] {
        if boolean(rule, flag) {
            schema.insert("format".into(), format.into());
        }
    }
}

/// Bounds; a 64-bit integer is text in JSON, so its bounds are told beside the schema.
fn numeric(rule: &DynamicMessage, schema: &mut Map<String, Value>) {
    let text = schema.get("type") == Some(&json!("string"));
    for (from, to, beside) in [
        ("gte", "minimum", "x-minimum"),
        ("lte", "maximum", "x-maximum"),
        ("gt", "exclusiveMinimum", "x-exclusive-minimum"),
        ("lt", "exclusiveMaximum", "x-exclusive-maximum"),
        ("const", "const", "x-const"),
        ("in", "enum", "x-enum"),
    ] {
        copy(rule, from, schema, if text { beside } else { to });
    }
}

/// The text of CEL rules, which JSON Schema cannot say.
fn cel(value: &Proto, schema: &mut Map<String, Value>) {
    let Some(rules) = value.as_list() else { return };
    let texts = rules.iter().filter_map(Proto::as_message).filter_map(|rule| {
        let message = rule.get_field_by_name("message")?.as_str()?.to_owned();
        Some(Value::String(message))
    });
    schema.insert("x-rules".into(), texts.collect());
}

fn copy(rule: &DynamicMessage, from: &str, schema: &mut Map<String, Value>, to: &str) {
    if !rule.has_field_by_name(from) {
        return;
    }
    if let Some(value) = rule.get_field_by_name(from) {
        schema.insert(to.to_owned(), plain(&value));
    }
}

fn plain(value: &Proto) -> Value {
    match value {
        Proto::Bool(v) => json!(v),
        Proto::I32(v) | Proto::EnumNumber(v) => json!(v),
        Proto::I64(v) => json!(v),
        Proto::U32(v) => json!(v),
        Proto::U64(v) => json!(v),
        Proto::F32(v) => json!(v),
        Proto::F64(v) => json!(v),
        Proto::String(v) => json!(v),
        Proto::List(v) => v.iter().map(plain).collect(),
        Proto::Map(v) => v.iter().filter_map(|(k, v)| Some((key(k)?, plain(v)))).collect::<Map<_, _>>().into(),
        Proto::Bytes(_) | Proto::Message(_) => Value::Null,
    }
}

fn key(key: &MapKey) -> Option<String> {
    key.as_str().map(str::to_owned)
}

fn sub(rule: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    if !rule.has_field_by_name(name) {
        return None;
    }
    rule.get_field_by_name(name)?.as_message().cloned()
}

fn boolean(rule: &DynamicMessage, name: &str) -> bool {
    rule.has_field_by_name(name) && rule.get_field_by_name(name).is_some_and(|v| v.as_bool() == Some(true))
}

fn number(rule: &DynamicMessage, name: &str) -> Option<u64> {
    match rule.get_field_by_name(name)?.as_ref() {
        Proto::U64(v) => Some(*v),
        Proto::EnumNumber(v) => u64::try_from(*v).ok(),
        _ => None,
    }
}
