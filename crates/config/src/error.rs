//! What is wrong with the settings, all of it.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use crate::{Origin, Value, node::Node, suggest};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where the value was written; none for a value that is missing.
    pub origin: Option<Origin>,
    /// Key with its section, as `auth.access_ttl_secs`.
    pub key: String,
    /// What is wrong, never with the value of a secret.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if self.key.is_empty() { f.write_str(&self.text) } else { write!(f, "{}: {}", self.key, self.text) }
    }
}

/// Everything that is wrong with the settings. Never empty when returned as an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Errors(pub Vec<Finding>);

impl Errors {
    /// Adds the findings of `result`, and hands back its value.
    pub fn absorb<T>(&mut self, result: Result<T, Self>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(errors) => {
                for finding in errors.0 {
                    if !self.0.contains(&finding) {
                        self.0.push(finding);
                    }
                }
                None
            }
        }
    }

    /// `Err` when there is any finding.
    ///
    /// # Errors
    /// The findings.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} problem{plural} in the settings", self.0.len())?;
        for finding in &self.0 {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Collects what an options struct finds wrong with itself beyond types ([`crate::Section::read_with`]).
#[derive(Debug)]
pub struct Report<'a> {
    pub(crate) section: &'a str,
    pub(crate) node: &'a Node,
    pub(crate) found: Vec<Finding>,
}

impl Report<'_> {
    /// Refuses the value of `key` (dotted below the section).
    pub fn refuse(&mut self, key: &str, text: impl Into<String>) {
        let path: Vec<&str> = key.split('.').collect();
        let origin = self.node.at(&path).map(|node| node.origin.clone());
        self.found.push(Finding { origin, key: join(self.section, key), text: text.into() });
    }

    /// Refuses the value of `key` unless `least <= value <= most`.
    pub fn within<T: PartialOrd + fmt::Display>(&mut self, key: &str, value: T, least: T, most: T) {
        let range = least..=most;
        // Asked so, and not whether it is outside: what is no number (NaN) is within nothing.
        if !range.contains(&value) {
            self.refuse(key, format!("must be {} to {}, is {value}", range.start(), range.end()));
        }
    }

    /// Refuses the keys of the table at `key` (the section itself when empty) that are none of `known`: for tables whose
    /// keys are names that no options struct has.
    pub fn only(&mut self, key: &str, known: &[&str]) {
        let node = self.node;
        let path: Vec<&str> = key.split('.').filter(|part| !part.is_empty()).collect();
        let Some(Value::Table(table)) = node.at(&path).map(|node| &node.value) else { return };
        for (name, node) in table.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            self.found.push(Finding {
                origin: Some(node.origin.clone()),
                key: [self.section, key, name].into_iter().fold(String::new(), |path, part| join(&path, part)),
                text: suggest::unknown("key", name, known.iter().copied()),
            });
        }
    }

    /// Asks for a secret that has no default.
    pub fn require_secret(&mut self, key: &str, value: Option<&SecretString>) {
        if value.is_none_or(|secret| secret.expose_secret().is_empty()) {
            let variable = crate::environment::variable(&join(self.section, key));
            self.refuse(key, format!("is required; set it in a file or as {variable}"));
        }
    }
}

pub(crate) fn join(section: &str, key: &str) -> String {
    match (section.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (_, true) => section.to_owned(),
        _ => format!("{section}.{key}"),
    }
}
