//! TOML into a tree that knows its lines.

use std::{ops::Range, sync::Arc};

use indexmap::IndexMap;
use toml::de::{DeTable, DeValue};

use crate::{
    error::{Errors, Finding},
    node::{Node, Origin, Value},
};

/// Where the values of a text came from.
#[derive(Clone)]
pub(crate) enum Source {
    /// The embedded defaults.
    Default,
    /// A file, by the name to show.
    File(Arc<str>),
}

struct Lines<'a> {
    text: &'a str,
    source: Source,
}

impl Lines<'_> {
    fn origin(&self, span: &Range<usize>) -> Origin {
        match &self.source {
            Source::Default => Origin::Default,
            Source::File(name) => {
                let before = self.text.get(..span.start).unwrap_or(self.text);
                Origin::File(Arc::clone(name), before.bytes().filter(|byte| *byte == b'\n').count() + 1)
            }
        }
    }

    fn table(&self, table: &DeTable<'_>) -> Value {
        let entries = table.iter().map(|(key, value)| {
            let mut node = self.node(value.get_ref(), &value.span());
            // A key's own line is the one to show, also for a value that is a multi-line list.
            node.origin = self.origin(&key.span());
            (key.get_ref().to_string(), node)
        });
        Value::Table(entries.collect::<IndexMap<_, _>>())
    }

    fn node(&self, value: &DeValue<'_>, span: &Range<usize>) -> Node {
        let read = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(int) => match i64::from_str_radix(int.as_str(), int.radix()) {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Text(int.as_str().to_owned()),
            },
            DeValue::Float(float) => match float.as_str().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => Value::Text(float.as_str().to_owned()),
            },
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Datetime(time) => Value::Text(time.to_string()),
            DeValue::Array(list) => {
                Value::List(list.iter().map(|item| self.node(item.get_ref(), &item.span())).collect())
            }
            DeValue::Table(table) => self.table(table),
        };
        Node { value: read, origin: self.origin(span) }
    }
}

/// Reads `text`; every syntax error at once.
pub(crate) fn toml(text: &str, source: Source) -> Result<Node, Errors> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let lines = Lines { text, source };
    if errors.is_empty() {
        return Ok(Node { value: lines.table(table.get_ref()), origin: Origin::Default });
    }
    let findings = errors.iter().map(|error| Finding {
        origin: error.span().map(|span| lines.origin(&span)),
        key: String::new(),
        text: error.message().to_owned(),
    });
    Err(Errors(findings.collect()))
}
