//! A settings tree in which every value knows where it came from.

use std::{fmt, sync::Arc};

use indexmap::IndexMap;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origin {
    /// The embedded defaults.
    #[default]
    Default,
    /// A line (from 1) of a file.
    File(Arc<str>, usize),
    /// A variable of the environment.
    Variable(Arc<str>),
    /// Given by the program, as by a test or a command-line option.
    Given,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("config.default.toml"),
            Self::File(file, line) => write!(f, "{file}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Given => f.write_str("given"),
        }
    }
}

/// A value. Variables of the environment are texts until a reader asks for another type.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(IndexMap<String, Node>),
}

/// The kind alone: any value may be a secret, and only its key would tell. [`crate::Settings::print`] shows values.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool(_) => "Bool",
            Self::Int(_) => "Int",
            Self::Float(_) => "Float",
            Self::Text(_) => "Text",
            Self::List(_) => "List",
            Self::Table(_) => "Table",
        })
    }
}

impl Default for Value {
    fn default() -> Self {
        Self::Table(IndexMap::new())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<String>> for Value {
    fn from(value: Vec<String>) -> Self {
        Self::List(value.into_iter().map(|text| Node { value: text.into(), origin: Origin::Given }).collect())
    }
}

/// A value and its origin.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

impl Node {
    pub(crate) fn new(value: impl Into<Value>, origin: Origin) -> Self {
        Self { value: value.into(), origin }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(table) => table.get(key),
            _ => None,
        }
    }

    pub(crate) fn at<S: AsRef<str>>(&self, path: &[S]) -> Option<&Self> {
        let mut node = self;
        for key in path {
            node = match &node.value {
                Value::Table(table) => table.get(key.as_ref())?,
                Value::List(list) => list.get(key.as_ref().parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// Puts `node` at `path`, making tables on the way; a scalar in the way is replaced.
    pub(crate) fn put(&mut self, path: &[String], node: Self) {
        let Some((key, rest)) = path.split_first() else {
            self.merge(node);
            return;
        };
        if !matches!(self.value, Value::Table(_)) {
            self.value = Value::default();
        }
        if let Value::Table(table) = &mut self.value {
            let origin = node.origin.clone();
            table.entry(key.clone()).or_insert_with(|| Self { value: Value::default(), origin }).put(rest, node);
        }
    }

    /// Lays `over` on top: tables are merged key by key, anything else is replaced.
    pub(crate) fn merge(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (Value::Table(mine), Value::Table(theirs)) => {
                for (key, node) in theirs {
                    match mine.get_mut(&key) {
                        Some(old) => old.merge(node),
                        None => {
                            mine.insert(key, node);
                        }
                    }
                }
                // The nearest place a person wrote is the useful one to name.
                if over.origin != Origin::Default {
                    self.origin = over.origin;
                }
            }
            (mine, theirs) => {
                *mine = theirs;
                self.origin = over.origin;
            }
        }
    }

    /// Takes the value at `path` out; false when there was none.
    pub(crate) fn remove(&mut self, path: &[String]) -> bool {
        let Some((last, parents)) = path.split_last() else {
            return false;
        };
        let mut node = self;
        for key in parents {
            let next = match &mut node.value {
                Value::Table(table) => table.get_mut(key),
                Value::List(list) => key.parse::<usize>().ok().and_then(|index| list.get_mut(index)),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => return false,
            }
        }
        match &mut node.value {
            Value::Table(table) => table.shift_remove(last).is_some(),
            Value::List(list) => match last.parse::<usize>() {
                Ok(index) if index < list.len() => {
                    list.remove(index);
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }
}
