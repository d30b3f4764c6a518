//! What is wrong with the settings, all of it.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use crate::{Origin, node::Node};

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
        if value < least || value > most {
            self.refuse(key, format!("must be {least} to {most}, is {value}"));
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
