//! The settings as text, secrets redacted.

use std::fmt::Write as _;

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
        for (key, node) in table.iter().filter(|(_, node)| !matches!(node.value, Value::Table(_))) {
            line(&mut out, key, node);
        }
        for (key, node) in table {
            if let Value::Table(inner) = &node.value {
                section(&mut out, key, inner);
            }
        }
    }
    out
}

fn section(out: &mut String, path: &str, table: &indexmap::IndexMap<String, Node>) {
    let _infallible = writeln!(out, "\n[{path}]");
    for (key, node) in table.iter().filter(|(_, node)| !matches!(node.value, Value::Table(_))) {
        line(out, key, node);
    }
    for (key, node) in table {
        if let Value::Table(inner) = &node.value {
            section(out, &format!("{path}.{key}"), inner);
        }
    }
}

fn line(out: &mut String, key: &str, node: &Node) {
    let text = if is_secret(key) { quoted(REDACTED) } else { value(node) };
    let _infallible = match &node.origin {
        Origin::Default => writeln!(out, "{key} = {text}"),
        origin => writeln!(out, "{key} = {text}  # {origin}"),
    };
}

fn value(node: &Node) -> String {
    match &node.value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Text(text) => quoted(&without_password(text)),
        Value::List(list) => format!("[{}]", list.iter().map(value).collect::<Vec<_>>().join(", ")),
        Value::Table(table) => {
            let entries = table.iter().map(|(key, node)| {
                let text = if is_secret(key) { quoted(REDACTED) } else { value(node) };
                format!("{key} = {text}")
            });
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Addresses of databases carry their password.
fn without_password(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.password().is_some() => {
            if url.set_password(Some("redacted")).is_err() {
                return REDACTED.to_owned();
            }
            url.to_string()
        }
        _ => text.to_owned(),
    }
}
