//! The layers put together.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::de::DeserializeOwned;

use crate::{
    DEFAULTS, environment,
    error::{Errors, Finding},
    node::{Node, Origin, Value},
    parse::{self, Source},
    print,
    section::Section,
    suggest,
};

/// All settings of a process: defaults, files, environment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Settings {
    root: Arc<Node>,
}

impl Default for Settings {
    fn default() -> Self {
        Self::defaults()
    }
}

impl Settings {
    /// The embedded defaults alone.
    #[must_use]
    pub fn defaults() -> Self {
        // A unit test holds the embedded text to be readable; an empty tree means the options' own defaults.
        Self { root: Arc::new(parse::toml(DEFAULTS, Source::Default).unwrap_or_default()) }
    }

    /// Defaults, then `files` in order, then the process's environment.
    ///
    /// # Errors
    /// Everything that can be told without knowing the sections' types: unreadable files, syntax, unknown sections.
    pub fn load(files: &[PathBuf]) -> Result<Self, Errors> {
        Self::layered(files, environment::process())
    }

    /// As [`Settings::load`] with the environment given.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn layered(files: &[PathBuf], variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, Errors> {
        let mut errors = Errors::default();
        let mut root = (*Self::defaults().root).clone();
        for file in files {
            if let Some(node) = errors.absorb(read_file(file)) {
                root.merge(node);
            }
        }
        environment::overlay(&mut root, variables);
        let settings = Self { root: Arc::new(root) };
        errors.absorb(settings.known_sections());
        errors.into_result()?;
        Ok(settings)
    }

    /// Lays TOML `text` on top; `name` is shown in errors.
    ///
    /// # Errors
    /// Syntax errors and unknown sections.
    pub fn with_toml(&self, name: &str, text: &str) -> Result<Self, Errors> {
        let mut root = (*self.root).clone();
        root.merge(parse::toml(text, Source::File(name.into()))?);
        let settings = Self { root: Arc::new(root) };
        settings.known_sections()?;
        Ok(settings)
    }

    /// Sets one dotted key, as a test or a command-line option does.
    #[must_use]
    pub fn with(&self, key: &str, value: impl Into<Value>) -> Self {
        let mut root = (*self.root).clone();
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        root.put(&path, Node::new(value, Origin::Given));
        Self { root: Arc::new(root) }
    }

    /// A section by its name; empty when nothing is set in it.
    #[must_use]
    pub fn section(&self, name: &str) -> Section {
        Section::new(name, self.root.get(name).cloned().unwrap_or_default())
    }

    /// One top-level value, as `mode`.
    ///
    /// # Errors
    /// A wrong type.
    pub fn read<T: DeserializeOwned>(&self, key: &str) -> Result<T, Errors> {
        self.section(key).read()
    }

    /// The settings in force as TOML with the origin of each, secrets redacted.
    #[must_use]
    pub fn print(&self) -> String {
        print::print(&self.root)
    }

    fn known_sections(&self) -> Result<(), Errors> {
        let defaults = Self::defaults();
        let mut errors = Errors::default();
        let (Value::Table(mine), Value::Table(known)) = (&self.root.value, &defaults.root.value) else {
            return Ok(());
        };
        for (name, node) in mine.iter().filter(|(name, _)| !known.contains_key(*name)) {
            let text = suggest::unknown("section", name, known.keys().map(String::as_str));
            errors.0.push(Finding { origin: Some(node.origin.clone()), key: name.clone(), text });
        }
        errors.into_result()
    }
}

fn read_file(file: &Path) -> Result<Node, Errors> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        Errors(vec![Finding { origin: None, key: String::new(), text: format!("{name}: cannot be read: {error}") }])
    })?;
    parse::toml(&text, Source::File(name.into()))
}
