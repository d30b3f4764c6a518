//! One section, as a room reads it.

use std::{cell::RefCell, sync::Arc};

use serde::de::DeserializeOwned;

use crate::{
    error::{Errors, Finding, Report, join},
    node::Node,
    parse::{self, Source},
    print,
    read::{Reader, Unknown},
    suggest,
};

/// One section of the settings: what a room reads its options struct from. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Section {
    name: Arc<str>,
    node: Arc<Node>,
}

impl Section {
    pub(crate) fn new(name: &str, node: Node) -> Self {
        Self { name: name.into(), node: Arc::new(node) }
    }

    /// A section called `name` from TOML text, for tests.
    ///
    /// # Errors
    /// The syntax errors.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, Errors> {
        Ok(Self::new(name, parse::toml(text, Source::File(Arc::from("text")))?))
    }

    /// Its name, as `auth`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A table inside; empty when there is none.
    #[must_use]
    pub fn sub(&self, key: &str) -> Self {
        Self::new(&join(&self.name, key), self.node.get(key).cloned().unwrap_or_default())
    }

    /// The section with these keys alone; for tests of options that share a section's name.
    #[cfg(test)]
    pub(crate) fn keep(&self, keys: &[&str]) -> Self {
        let mut node = (*self.node).clone();
        if let crate::Value::Table(table) = &mut node.value {
            table.retain(|key, _| keys.contains(&key.as_str()));
        }
        Self::new(&self.name, node)
    }

    /// Reads the section into an options struct (`#[derive(Deserialize)] #[serde(default)]` with a `Default`). Keys the
    /// struct does not have are errors.
    ///
    /// # Errors
    /// Every unknown key and every value of a wrong type or range, each with its place.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Errors> {
        self.read_with(|_, _| ())
    }

    /// As [`Section::read`], then lets `check` refuse values.
    ///
    /// # Errors
    /// Every finding of the reading and of `check`.
    pub fn read_with<T: DeserializeOwned>(&self, check: impl FnOnce(&T, &mut Report<'_>)) -> Result<T, Errors> {
        let mut errors = Errors::default();
        let mut node = (*self.node).clone();
        let unknown = RefCell::new(Vec::new());
        // A value that cannot be read is noted and taken out, so that the next pass finds the next one.
        let value = loop {
            match T::deserialize(Reader::new(&node, &unknown)) {
                Ok(value) => break Some(value),
                Err(error) => {
                    let path = error.path.unwrap_or_default();
                    let finding = self.finding(&path, error.text);
                    let seen = errors.0.contains(&finding);
                    if !seen {
                        errors.0.push(finding);
                    }
                    if seen || !node.remove(&path) {
                        break None;
                    }
                }
            }
        };
        for found in unknown.into_inner() {
            let finding = self.unknown(&found);
            if !errors.0.contains(&finding) {
                errors.0.push(finding);
            }
        }
        if let Some(value) = &value {
            let mut report = Report { section: &self.name, node: &self.node, found: Vec::new() };
            check(value, &mut report);
            errors.0.extend(report.found);
        }
        match value {
            Some(value) if errors.0.is_empty() => Ok(value),
            _ => Err(errors),
        }
    }

    fn finding(&self, path: &[String], text: String) -> Finding {
        let secret = path.iter().any(|key| print::is_secret(key));
        let text = if secret { "has a wrong type or is not acceptable".to_owned() } else { text };
        Finding {
            origin: self.node.at(path).map(|node| node.origin.clone()),
            key: join(&self.name, &path.join(".")),
            text,
        }
    }

    fn unknown(&self, found: &Unknown) -> Finding {
        let wrong = found.path.last().map_or("", String::as_str);
        let text = suggest::unknown("key", wrong, found.known.iter().copied());
        self.finding(&found.path, String::new()).with_text(text)
    }
}

impl Finding {
    fn with_text(mut self, text: String) -> Self {
        self.text = text;
        self
    }
}
