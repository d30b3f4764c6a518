//! Messages and enums as JSON Schema, each once under `components.schemas`.

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::{comment::Comments, constraint};
use crate::options;

/// The schemas met so far.
#[derive(Debug)]
pub(super) struct Schemas<'c> {
    comments: &'c Comments,
    found: BTreeMap<String, Value>,
}

impl<'c> Schemas<'c> {
    pub(super) fn new(comments: &'c Comments) -> Self {
        Self { comments, found: BTreeMap::new() }
    }

    /// All schemas, by name.
    pub(super) fn finish(self) -> Value {
        Value::Object(self.found.into_iter().collect())
    }

    /// The schema of a message, or a reference to it.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Value {
        if let Some(schema) = self.well_known(message) {
            return schema;
        }
        let name = message.full_name().to_owned();
        if !self.found.contains_key(&name) {
            // Taken before its fields are walked: messages may hold themselves.
            self.found.insert(name.clone(), Value::Null);
            let schema = self.object(message, &[]);
            self.found.insert(name.clone(), schema);
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// A message written out, without some of its fields.
    pub(super) fn object(&mut self, message: &MessageDescriptor, without: &[&str]) -> Value {
        let mut fields: Vec<FieldDescriptor> = message.fields().filter(|f| !without.contains(&f.name())).collect();
        fields.sort_by_key(|f| f.path().last().copied());
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in &fields {
            if constraint::required(field) {
                required.push(Value::from(field.name()));
            }
            properties.insert(field.name().to_owned(), self.field(field));
        }
        let mut schema = Map::new();
        schema.insert("type".into(), "object".into());
        describe(&mut schema, self.comments.message(message));
        schema.insert("properties".into(), properties.into());
        if !required.is_empty() {
            schema.insert("required".into(), required.into());
        }
        schema.into()
    }

    /// The schema of a field with its comment, rules and handling.
    pub(super) fn field(&mut self, field: &FieldDescriptor) -> Value {
        let rule = options::field_rule(field);
        let one = self.kind(field, rule.safe_integer);
        let mut schema = if field.is_map() {
            let value = match field.kind() {
                Kind::Message(entry) => entry.get_field(2).map_or(json!({}), |value| self.kind(&value, false)),
                _ => json!({}),
            };
            map_of([("type", json!("object")), ("additionalProperties", value)])
        } else if field.is_list() {
            map_of([("type", json!("array")), ("items", one)])
        } else if let Value::Object(schema) = one {
            schema
        } else {
            Map::new()
        };
        if let Some(rules) = constraint::rules(field) {
            constraint::apply(&rules, &mut schema);
        }
        describe(&mut schema, self.comments.field(field));
        if rule.secret {
            schema.insert("format".into(), "password".into());
        }
        if rule.server_only {
            schema.insert("readOnly".into(), true.into());
        }
        if field.field_descriptor_proto().options.as_ref().is_some_and(|o| o.deprecated()) {
            schema.insert("deprecated".into(), true.into());
        }
        if let Some(oneof) = field.containing_oneof().filter(|o| o.fields().len() > 1) {
            schema.insert("x-oneof".into(), oneof.name().into());
        }
        schema.into()
    }

    fn kind(&mut self, field: &FieldDescriptor, safe: bool) -> Value {
        match field.kind() {
            Kind::Double => json!({"type": "number", "format": "double"}),
            Kind::Float => json!({"type": "number", "format": "float"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
            Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "format": "int64", "minimum": 0}),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 if safe => json!({"type": "integer", "format": "int64"}),
            Kind::Uint64 | Kind::Fixed64 if safe => json!({"type": "integer", "format": "int64", "minimum": 0}),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({"type": "string", "pattern": "^-?[0-9]+$"}),
            Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "pattern": "^[0-9]+$"}),
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Enum(declared) => self.enumeration(&declared),
            Kind::Message(message) if message.is_map_entry() => json!({}),
            Kind::Message(message) => self.message(&message),
        }
    }

    fn enumeration(&mut self, declared: &EnumDescriptor) -> Value {
        let name = declared.full_name().to_owned();
        if name == "google.protobuf.NullValue" {
            return json!({"type": "null"});
        }
        let comments = self.comments;
        self.found.entry(name.clone()).or_insert_with(|| {
            let mut text = comments.enumeration(declared).to_owned();
            for value in declared.values() {
                text.push_str(&format!("\n- `{}`: {}", value.name(), comments.value(&value).replace('\n', " ")));
            }
            let names: Vec<Value> = declared.values().map(|v| v.name().into()).collect();
            json!({"type": "string", "description": text.trim(), "enum": names})
        });
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// Schema of a type with a JSON form of its own.
    fn well_known(&mut self, message: &MessageDescriptor) -> Option<Value> {
        Some(match message.full_name() {
            "google.protobuf.Timestamp" => json!({"type": "string", "format": "date-time"}),
            "google.protobuf.Duration" => json!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$"}),
            "google.protobuf.FieldMask" => json!({"type": "string"}),
            "google.protobuf.Struct" => json!({"type": "object"}),
            "google.protobuf.Value" => json!({}),
            "google.protobuf.ListValue" => json!({"type": "array", "items": {}}),
            "google.protobuf.Empty" => json!({"type": "object"}),
            "google.protobuf.Any" => json!({
                "type": "object",
                "properties": {"@type": {"type": "string"}},
                "required": ["@type"],
                "additionalProperties": true,
            }),
            name if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
                let field = message.get_field_by_name("value")?;
                self.kind(&field, false)
            }
            _ => return None,
        })
    }
}

/// Adds a comment as the description.
pub(super) fn describe(schema: &mut Map<String, Value>, comment: &str) {
    if !comment.is_empty() {
        schema.insert("description".into(), comment.into());
    }
}

fn map_of<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
