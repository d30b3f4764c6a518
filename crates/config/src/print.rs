//! The settings as text, secrets redacted.

use std::fmt::Write as _;

use indexmap::IndexMap;
use url::Url;

use crate::node::{Node, Origin, Value};

const REDACTED: &str = "[redacted]";

/// A key holds a secret by its name. Options call their secrets so; the type is `SecretString`.
pub(crate) fn is_secret(key: &str) -> bool {
    ["secret", "password", "token", "master_key", "private_key", "api_key"]
        .iter()
        .any(|name| key == *name || key.ends_with(&format!("_{name}")))
}

pub(crate) fn print(root: &Node) -> String {
    let mut out = String::new();
    if let Value::Table(table) = &root.value {
        entries(&mut out, "", table);
    }
    out
}

/// Values first, then the tables inside, as TOML wants it.
fn entries(out: &mut String, path: &str, table: &IndexMap<String, Node>) {
    for (key, node) in table.iter().filter(|(key, node)| inner(key, node).is_none()) {
        line(out, key, node);
    }
    for (key, node) in table {
        if let Some(inner) = inner(key, node) {
            let path = crate::error::join(path, key);
            let _infallible = writeln!(out, "\n[{path}]");
            entries(out, &path, inner);
        }
    }
}

/// The table of a key that may be looked into.
fn inner<'a>(key: &str, node: &'a Node) -> Option<&'a IndexMap<String, Node>> {
    match &node.value {
        Value::Table(table) if !is_secret(key) => Some(table),
        _ => None,
    }
}

fn line(out: &mut String, key: &str, node: &Node) {
    let text = shown(key, node);
    let _infallible = match &node.origin {
        Origin::Default => writeln!(out, "{key} = {text}"),
        origin => writeln!(out, "{key} = {text}  # {origin}"),
    };
}

fn shown(key: &str, node: &Node) -> String {
    if is_secret(key) { quoted(REDACTED) } else { value(node) }
}

fn value(node: &Node) -> String {
    match &node.value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Text(text) => quoted(&without_secrets(text)),
        Value::List(list) => format!("[{}]", list.iter().map(value).collect::<Vec<_>>().join(", ")),
        Value::Table(table) => {
            let entries = table.iter().map(|(key, node)| format!("{key} = {}", shown(key, node)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Addresses of databases carry their password, before the host or in the query. One that cannot be read, or has an `@`
/// but no name before it, is broken by a `#`, `/` or `?` of its password: nothing of it is shown.
fn without_secrets(text: &str) -> String {
    let address = text.contains("://");
    let Ok(mut url) = Url::parse(text) else {
        return if address && text.contains(['@', '?']) { REDACTED.to_owned() } else { text.to_owned() };
    };
    let named = url.password().is_some() || !url.username().is_empty();
    if address && text.contains('@') && !named {
        return REDACTED.to_owned();
    }
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if url.password().is_none() && !pairs.iter().any(hidden) {
        return text.to_owned();
    }
    if url.password().is_some() && url.set_password(Some("redacted")).is_err() {
        return REDACTED.to_owned();
    }
    if !pairs.is_empty() {
        let shown = pairs.iter().map(|pair| (&pair.0, if hidden(pair) { "redacted" } else { &pair.1 }));
        url.query_pairs_mut().clear().extend_pairs(shown);
    }
    url.to_string()
}

/// A pair of a query is a secret by its key; `pass` is what Redis says. A place to be filled in (`{token}`) is none yet.
fn hidden((key, value): &(String, String)) -> bool {
    let place = value.starts_with('{') && value.ends_with('}');
    !place && (key.eq_ignore_ascii_case("pass") || is_secret(&key.to_ascii_lowercase()))
}
