//! JSON Schema, as much of it as the conditions of characters need.
//!
//! The keywords below mean what draft 2020-12 says, and **a schema with any other is refused when it is read**, so a schema is
//! never believed to hold what nobody looks at. Rejected: the crate `jsonschema`, which knows all keywords and brings some
//! twenty crates that nothing else of the house needs, for one schema that is ours.

use coreloop_core::Violation;
use serde_json::{Map, Value};

/// What says nothing of values.
const REMARKS: [&str; 4] = ["$schema", "$id", "title", "description"];

/// A schema that is understood in full.
#[derive(Debug, Clone)]
pub struct Schema(Value);

/// A schema that is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the schema cannot be used: {0}")]
pub struct SchemaError(String);

impl Schema {
    /// That of conditions.
    ///
    /// # Errors
    /// When the file of this build is not understood.
    pub fn unlock() -> Result<Self, SchemaError> {
        Self::read(include_str!("../schema/unlock.json"))
    }

    /// Reads a schema.
    ///
    /// # Errors
    /// What is no JSON, or says what is not understood here.
    pub fn read(text: &str) -> Result<Self, SchemaError> {
        let schema = serde_json::from_str(text).map_err(|error| SchemaError(error.to_string()))?;
        understood(&schema)?;
        Ok(Self(schema))
    }

    /// Everything by which `value` breaks it; `at` names the value.
    #[must_use]
    pub fn check(&self, at: &str, value: &Value) -> Vec<Violation> {
        let mut found = Vec::new();
        check(&self.0, value, at, &mut found);
        found
    }
}

fn understood(schema: &Value) -> Result<(), SchemaError> {
    let rules = schema.as_object().ok_or_else(|| SchemaError(format!("`{schema}` is no object")))?;
    for (keyword, rule) in rules {
        let fits = match keyword.as_str() {
            remark if REMARKS.contains(&remark) => true,
            "type" => rule.as_str().is_some_and(|name| TYPES.iter().any(|(known, _)| *known == name)),
            "const" => is_scalar(rule),
            "enum" => rule.as_array().is_some_and(|values| values.iter().all(is_scalar)),
            "required" => rule.as_array().is_some_and(|names| names.iter().all(Value::is_string)),
            "additionalProperties" | "uniqueItems" => rule.is_boolean(),
            "minimum" | "maximum" => rule.is_number(),
            "minItems" | "maxItems" | "maxProperties" => rule.is_u64(),
            "items" | "if" | "then" => understood(rule).map(|()| true)?,
            "allOf" => rule.as_array().map(|all| all.iter().try_for_each(understood)).transpose()?.is_some(),
            "properties" => rule.as_object().map(|all| all.values().try_for_each(understood)).transpose()?.is_some(),
            _ => false,
        };
        if !fits {
            return Err(SchemaError(format!("`{keyword}: {rule}` is not understood")));
        }
    }
    Ok(())
}

/// Whether a value is of a type.
type Is = fn(&Value) -> bool;

/// Types, and what is of each.
const TYPES: [(&str, Is); 5] = [
    ("object", Value::is_object),
    ("array", Value::is_array),
    ("string", Value::is_string),
    ("boolean", Value::is_boolean),
    // 7.0 is one.
    ("integer", |value| value.as_f64().is_some_and(|number| number.fract() == 0.0)),
];

fn is_scalar(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}

/// Whether two values are the same: numbers by what they are worth, however they are written.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<Violation>) {
    let Some(rules) = schema.as_object() else { return };
    for (keyword, rule) in rules {
        match broken(keyword, rule, value) {
            Some(description) => found.push(Violation { field: at.to_owned(), description }),
            None => inside(keyword, rule, (rules, value), at, found),
        }
    }
}

/// What a rule about the value as such has against it.
fn broken(keyword: &str, rule: &Value, value: &Value) -> Option<String> {
    let more = |length: Option<usize>| {
        length.zip(rule.as_u64()).is_some_and(|(length, most)| u64::try_from(length).is_ok_and(|length| length > most))
    };
    let less = |length: Option<usize>| {
        length
            .zip(rule.as_u64())
            .is_some_and(|(length, least)| u64::try_from(length).is_ok_and(|length| length < least))
    };
    let items = value.as_array().map(Vec::len);
    let numbers = value.as_f64().zip(rule.as_f64());
    let (wrong, text) = match keyword {
        "type" => {
            let of = TYPES.iter().find(|(name, _)| rule.as_str() == Some(*name));
            (of.is_some_and(|(_, of)| !of(value)), format!("must be of type {}", rule.as_str().unwrap_or_default()))
        }
        "const" => (!same(value, rule), format!("must be {rule}")),
        "enum" => {
            let known = rule.as_array().is_some_and(|values| values.iter().any(|known| same(known, value)));
            (!known, format!("must be one of {rule}"))
        }
        "minimum" => (numbers.is_some_and(|(value, least)| value < least), format!("must be {rule} or more")),
        "maximum" => (numbers.is_some_and(|(value, most)| value > most), format!("must be {rule} or less")),
        "minItems" => (less(items), format!("must have {rule} entries or more")),
        "maxItems" => (more(items), format!("must have {rule} entries or fewer")),
        "maxProperties" => (more(value.as_object().map(Map::len)), format!("must have {rule} fields or fewer")),
        "uniqueItems" => (rule.as_bool() == Some(true) && repeats(value), "must not repeat itself".to_owned()),
        _ => return None,
    };
    wrong.then_some(text)
}

fn repeats(value: &Value) -> bool {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().enumerate().any(|(place, item)| items.iter().take(place).any(|before| same(before, item)))
}

/// What a rule about the parts of a value, or about other rules, has against it.
fn inside(
    keyword: &str,
    rule: &Value,
    (rules, value): (&Map<String, Value>, &Value),
    at: &str,
    found: &mut Vec<Violation>,
) {
    let (fields, items) = (value.as_object(), value.as_array().map(Vec::as_slice).unwrap_or_default());
    match (keyword, fields) {
        ("properties", Some(fields)) => {
            for (name, rule) in rule.as_object().into_iter().flatten() {
                if let Some(value) = fields.get(name) {
                    check(rule, value, &format!("{at}.{name}"), found);
                }
            }
        }
        ("required", Some(fields)) => {
            let names = rule.as_array().into_iter().flatten().filter_map(Value::as_str);
            for name in names.filter(|name| !fields.contains_key(*name)) {
                found.push(Violation { field: format!("{at}.{name}"), description: "must be set".to_owned() });
            }
        }
        ("additionalProperties", Some(fields)) if rule.as_bool() == Some(false) => {
            let known = rules.get("properties").and_then(Value::as_object);
            for name in fields.keys().filter(|name| !known.is_some_and(|known| known.contains_key(*name))) {
                found.push(Violation { field: format!("{at}.{name}"), description: "is not known".to_owned() });
            }
        }
        ("items", _) => {
            items.iter().enumerate().for_each(|(place, item)| check(rule, item, &format!("{at}[{place}]"), found));
        }
        ("allOf", _) => rule.as_array().into_iter().flatten().for_each(|rule| check(rule, value, at, found)),
        ("if", _) => {
            let mut against = Vec::new();
            check(rule, value, at, &mut against);
            if let (true, Some(then)) = (against.is_empty(), rules.get("then")) {
                check(then, value, at, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn fits(schema: &Value, value: &Value) -> bool {
        Schema::read(&schema.to_string()).unwrap().check("it", value).is_empty()
    }

    #[test]
    fn keywords_mean_what_the_draft_says() {
        for (schema, good, bad) in [
            (json!({"type": "integer"}), json!(7.0), json!(7.5)),
            (json!({"type": "object"}), json!({}), json!([])),
            (json!({"type": "string"}), json!(""), json!(null)),
            (json!({"type": "boolean"}), json!(false), json!(0)),
            (json!({"const": 1}), json!(1.0), json!("1")),
            (json!({"enum": ["a", 2, null]}), json!(null), json!("b")),
            (json!({"minimum": 2}), json!(2), json!(1.9)),
            (json!({"maximum": 2}), json!("beyond"), json!(3)),
            (json!({"minItems": 1}), json!([0]), json!([])),
            (json!({"maxItems": 1}), json!({"a": 1, "b": 2}), json!([1, 2])),
            (json!({"maxProperties": 0}), json!([1]), json!({"a": 1})),
            (json!({"uniqueItems": true}), json!([1, "1"]), json!([1, 1.0])),
            (json!({"items": {"type": "string"}}), json!(["a"]), json!(["a", 1])),
            (json!({"required": ["a"]}), json!([]), json!({"b": 1})),
            (json!({"properties": {"a": {"const": 1}}}), json!({"b": 2}), json!({"a": 2})),
            (json!({"properties": {"a": {}}, "additionalProperties": false}), json!({"a": 2}), json!({"b": 2})),
            (json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), json!(2), json!(3)),
            (json!({"if": {"minimum": 5}, "then": {"maximum": 6}}), json!(1), json!(7)),
        ] {
            assert!(fits(&schema, &good), "{schema}: {good}");
            assert!(!fits(&schema, &bad), "{schema}: {bad}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_wherever_it_stands() {
        for schema in [
            json!(true),
            json!({"pattern": "^a$"}),
            json!({"minimum": "1"}),
            json!({"type": "number"}),
            json!({"enum": [[]]}),
            json!({"additionalProperties": {}}),
            json!({"properties": {"a": {"oneOf": []}}}),
            json!({"allOf": [{"not": {}}]}),
            json!({"items": {"$ref": "#"}}),
            json!({"if": {}, "then": {}, "else": {}}),
        ] {
            assert!(Schema::read(&schema.to_string()).is_err(), "{schema}");
        }
        assert!(Schema::read("{").is_err());
        assert!(Schema::unlock().is_ok());
    }
}
