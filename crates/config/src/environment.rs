//! The environment as a layer. The only place of the product that reads it.

use std::sync::Arc;

use crate::node::{Node, Origin};

const PREFIX: &str = "CORELOOP_";

/// Names a file of settings; read by the command line, not a setting itself.
const RESERVED: &[&str] = &["CORELOOP_CONFIG"];

/// `auth.access_ttl_secs` is `CORELOOP_AUTH__ACCESS_TTL_SECS`.
pub(crate) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Lays the variables `CORELOOP_…` over `root`; others are not looked at.
pub(crate) fn overlay(root: &mut Node, variables: impl IntoIterator<Item = (String, String)>) {
    for (name, value) in variables {
        if RESERVED.contains(&name.as_str()) {
            continue;
        }
        let Some(key) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let path: Vec<String> = key.split("__").map(str::to_lowercase).collect();
        let origin = Origin::Variable(Arc::from(name.as_str()));
        root.put(&path, Node::new(value, origin));
    }
}

/// The process's variables. Values that are not UTF-8 are passed over: no setting is one.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub(crate) fn process() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
