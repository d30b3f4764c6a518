//! What a change of the REST API takes from its callers: a path, a type, the freedom to leave something out (chapter 07).
//!
//! `buf breaking` does not see it: bindings, required fields and formats are options and comments to it. Two OpenAPI
//! documents are compared as the edge writes them: every message is a named schema, so a reference is compared by its
//! name, and what it names once.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// What of `old` no longer holds in `new`, a line each; empty when every caller of the old is served by the new.
pub(crate) fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Found::default();
    for (path, methods) in members(old.get("paths")) {
        for (method, operation) in members(Some(methods)) {
            let at = format!("{} {path}", method.to_uppercase());
            match new.get("paths").and_then(|paths| paths.get(path)?.get(method)) {
                Some(now) => found.operation(&at, operation, now),
                None => found.say(&at, "is gone"),
            }
        }
    }
    for (name, schema) in members(old.pointer("/components/schemas")) {
        // One that is gone is found wherever it was referred to.
        if let Some(now) = new.pointer("/components/schemas").and_then(|schemas| schemas.get(name)) {
            found.schema(name, Some(schema), Some(now));
        }
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    fn say(&mut self, at: &str, what: &str) {
        self.0.push(format!("{at} {what}"));
    }

    fn operation(&mut self, at: &str, old: &Value, new: &Value) {
        self.parameters(at, old, new);
        let body = |operation: &'_ Value| operation.get("requestBody").is_some();
        if body(new) && !body(old) {
            self.say(&format!("{at}: a body"), "is newly required");
        }
        if body(old) {
            self.content(&format!("{at}: the body"), old.get("requestBody"), new.get("requestBody"));
        }
        for (status, answer) in members(old.get("responses")).filter(|(status, _)| status.starts_with(['2', '3'])) {
            let at = format!("{at}: the answer {status}");
            match new.get("responses").and_then(|answers| answers.get(status)) {
                Some(now) => self.content(&at, Some(answer), Some(now)),
                None => self.say(&at, "is gone"),
            }
        }
    }

    fn parameters(&mut self, at: &str, old: &Value, new: &Value) {
        let find = |operation: &Value, wanted: &Value| {
            let same = |one: &&Value| ["name", "in"].iter().all(|key| one.get(key) == wanted.get(key));
            list(operation.get("parameters")).iter().find(same).cloned()
        };
        let required = |parameter: &Value| parameter.get("required") == Some(&Value::Bool(true));
        let name = |parameter: &Value| format!("{at}: the parameter `{}`", text(parameter.get("name")));
        for parameter in list(old.get("parameters")) {
            match find(new, parameter) {
                Some(now) => self.schema(&name(parameter), parameter.get("schema"), now.get("schema")),
                None => self.say(&name(parameter), "is gone"),
            }
        }
        for parameter in list(new.get("parameters")).iter().filter(|parameter| required(parameter)) {
            if !find(old, parameter).as_ref().is_some_and(required) {
                self.say(&name(parameter), "is newly required");
            }
        }
    }

    /// A body or an answer, by media type.
    fn content(&mut self, at: &str, old: Option<&Value>, new: Option<&Value>) {
        for (kind, media) in members(old.and_then(|old| old.get("content"))) {
            match new.and_then(|new| new.get("content")?.get(kind)) {
                Some(now) => self.schema(at, media.get("schema"), now.get("schema")),
                None => self.say(at, &format!("is no longer {kind}")),
            }
        }
    }

    fn schema(&mut self, at: &str, old: Option<&Value>, new: Option<&Value>) {
        let of = |schema: Option<&'_ Value>, key: &str| schema.and_then(|schema| schema.get(key)).cloned();
        for key in ["$ref", "type", "format"] {
            let (was, is) = (of(old, key), of(new, key));
            if was != is {
                self.say(at, &format!("was {}, is {}", text(was.as_ref()), text(is.as_ref())));
            }
        }
        for value in list(of(old, "enum").as_ref()) {
            if of(new, "enum").is_some_and(|values| !list(Some(&values)).contains(value)) {
                self.say(at, &format!("has no value {value} any more"));
            }
        }
        let required = |schema| list(of(schema, "required").as_ref()).iter().map(|n| text(Some(n))).collect();
        let (was, is): (BTreeSet<String>, BTreeSet<String>) = (required(old), required(new));
        for name in is.difference(&was) {
            self.say(&format!("{at}.{name}"), "is newly required");
        }
        for (name, property) in members(of(old, "properties").as_ref()) {
            let at = format!("{at}.{name}");
            match new.and_then(|new| new.get("properties")?.get(name)) {
                Some(now) => self.schema(&at, Some(property), Some(now)),
                None => self.say(&at, "is gone"),
            }
        }
        for (key, part) in [("items", "[]"), ("additionalProperties", "{}")] {
            let (was, is) = (of(old, key), of(new, key));
            if was.is_some() || is.is_some() {
                self.schema(&format!("{at}{part}"), was.as_ref(), is.as_ref());
            }
        }
    }
}

/// The members of an object; none of anything else.
fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// The entries of a list; none of anything else.
fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests;
