//! One request, and what became of it.

use std::fmt;

use serde_json::Value;

/// 64-bit integers that our contract marks as safe: we write them as numbers, which ProtoJSON does not.
const SAFE: [&str; 2] = ["safe", "safes"];

/// 32-bit floats, whose shortest spelling is no 64-bit float's.
const FLOATS: [&str; 2] = ["a_float", "a_float_value"];

/// A request as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Vec<u8>,
}

impl Case {
    /// Request line without version, and the body; JSON when there is one.
    pub(super) fn new(line: &str, body: impl Into<Vec<u8>>) -> Self {
        let (method, target) = line.split_once(' ').unwrap();
        let body = body.into();
        let content_type = (!body.is_empty()).then_some("application/json");
        Self { method: method.to_owned(), target: target.to_owned(), content_type, body }
    }

    pub(super) fn of_type(self, content_type: &'static str) -> Self {
        Self { content_type: Some(content_type), ..self }
    }

    /// What it is called in the list of explanations.
    pub(super) fn name(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let shown = match body.char_indices().nth(300) {
            Some(_) => format!("{}… ({} bytes)", body.chars().take(16).collect::<String>(), body.len()),
            None => body.into_owned(),
        };
        let kind = self.content_type.filter(|kind| *kind != "application/json").unwrap_or_default();
        let shown = shown.replace('\\', "\\\\").replace('\n', "\\n").replace('\u{feff}', "\\u{feff}");
        [&self.method, &self.target, kind, &shown].iter().filter(|part| !part.is_empty()).fold(
            String::new(),
            |name, part| match name.as_str() {
                "" => (*part).to_string(),
                _ => format!("{name} {part}"),
            },
        )
    }

    /// As HTTP/1.1, marked so that the service knows whose request reached it.
    pub(super) fn wire(&self, mark: &str) -> Vec<u8> {
        let kind = self.content_type.map(|kind| format!("content-type: {kind}\r\n")).unwrap_or_default();
        let head = format!(
            "{} {} HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\nauthorization: {mark}\r\n{kind}content-length: {}\r\n\r\n",
            self.method,
            self.target,
            self.body.len()
        );
        [head.as_bytes(), &self.body].concat()
    }
}

/// What a front answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    Json(Value),
    Other(String),
}

/// What became of a request.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) status: u16,
    /// The RPC and the message that reached the service, as canonical JSON.
    pub(super) reached: Vec<(String, Value)>,
    /// Only of a request that was served: errors have no common form.
    pub(super) reply: Option<Reply>,
}

impl Outcome {
    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.status / 100 == other.status / 100
            && self.reached == other.reached
            && same_reply(&self.reply, &other.reply)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        for (rpc, message) in &self.reached {
            write!(f, " {rpc} {message}")?;
        }
        match &self.reply {
            Some(Reply::Json(json)) => write!(f, " -> {}", brief(json)),
            Some(Reply::Other(text)) => write!(f, " -> {text:?}"),
            None => Ok(()),
        }
    }
}

/// Without what has its default.
fn brief(json: &Value) -> Value {
    let plain = |value: &Value| {
        matches!(value, Value::Bool(false) | Value::Null)
            || value.as_f64() == Some(0.0)
            || value.as_str().is_some_and(|text| ["", "0", "COLOUR_UNSPECIFIED"].contains(&text))
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(serde_json::Map::is_empty)
    };
    match json {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !plain(value))
            .map(|(name, value)| (name.clone(), brief(value)))
            .collect(),
        other => other.clone(),
    }
}

fn same_reply(one: &Option<Reply>, other: &Option<Reply>) -> bool {
    match (one, other) {
        (Some(Reply::Json(one)), Some(Reply::Json(other))) => same(one, other),
        (one, other) => one == other,
    }
}

/// Equal, numbers by value, and safe integers in either form.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| {
                    other.get(name).is_some_and(|theirs| {
                        same(value, theirs)
                            || SAFE.contains(&name.as_str()) && quoted(value) == *theirs
                            || FLOATS.contains(&name.as_str()) && same_float(value, theirs)
                    })
                })
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (one, other) => one == other,
    }
}

fn same_float(one: &Value, other: &Value) -> bool {
    one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| one as f32 == other as f32)
}

fn quoted(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::String(number.to_string()),
        Value::Array(items) => items.iter().map(quoted).collect(),
        other => other.clone(),
    }
}
