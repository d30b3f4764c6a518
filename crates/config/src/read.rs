//! A serde reader of the tree that tells where it failed and which keys nobody asked for.

use std::{cell::RefCell, fmt};

use serde::de::{self, DeserializeSeed, IntoDeserializer as _, Unexpected, Visitor};

use crate::{
    node::{Node, Origin, Value},
    parse::{self, Source},
};

/// A key that the options struct does not have.
pub(crate) struct Unknown {
    pub(crate) path: Vec<String>,
    pub(crate) known: &'static [&'static str],
}

/// Why a value cannot be read, and which.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) path: Option<Vec<String>>,
    pub(crate) text: String,
}

impl Failure {
    /// The innermost place wins.
    fn at(mut self, path: &[String]) -> Self {
        self.path.get_or_insert_with(|| path.to_vec());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self { path: None, text: text.to_string() }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { path: None, text: format!("`{field}` is missing") }
    }
}

pub(crate) struct Reader<'a> {
    node: &'a Node,
    path: Vec<String>,
    unknown: &'a RefCell<Vec<Unknown>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(node: &'a Node, unknown: &'a RefCell<Vec<Unknown>>) -> Self {
        Self { node, path: Vec::new(), unknown }
    }

    fn inner<'b>(&'b self, key: &str, node: &'b Node) -> Reader<'b> {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        Reader { node, path, unknown: self.unknown }
    }

    /// Text of a variable: it takes the type that is asked for.
    fn variable(&self) -> Option<&'a str> {
        match (&self.node.value, &self.node.origin) {
            (Value::Text(text), Origin::Variable(_)) => Some(text),
            _ => None,
        }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match &self.node.value {
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Int(value) => Unexpected::Signed(*value),
            Value::Float(value) => Unexpected::Float(*value),
            Value::Text(text) => Unexpected::Str(text),
            Value::List(_) => Unexpected::Seq,
            Value::Table(_) => Unexpected::Map,
        }
    }

    fn wrong<T>(&self, expected: &dyn de::Expected) -> Result<T, Failure> {
        Err(<Failure as de::Error>::invalid_type(self.unexpected(), expected).at(&self.path))
    }

    fn whole<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let number = match (&self.node.value, self.variable()) {
            (Value::Int(number), _) => *number,
            (_, Some(text)) => match text.trim().parse() {
                Ok(number) => number,
                Err(_) => return self.wrong(&visitor),
            },
            _ => return self.wrong(&visitor),
        };
        let path = self.path;
        match u64::try_from(number) {
            Ok(number) => visitor.visit_u64(number),
            Err(_) => visitor.visit_i64(number),
        }
        .map_err(|error: Failure| error.at(&path))
    }

    fn fraction<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let number = match (&self.node.value, self.variable()) {
            (Value::Float(number), _) => *number,
            #[expect(clippy::cast_precision_loss, reason = "a setting written as a whole number is a small one")]
            (Value::Int(number), _) => *number as f64,
            (_, Some(text)) => match text.trim().parse() {
                Ok(number) => number,
                Err(_) => return self.wrong(&visitor),
            },
            _ => return self.wrong(&visitor),
        };
        visitor.visit_f64(number).map_err(|error: Failure| error.at(&self.path))
    }

    fn table<'de, V: Visitor<'de>>(
        self,
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let Value::Table(table) = &self.node.value else {
            return self.wrong(&visitor);
        };
        if let Some(known) = known {
            let mut unknown = self.unknown.borrow_mut();
            for key in table.keys().filter(|key| !known.contains(&key.as_str())) {
                let mut path = self.path.clone();
                path.push(key.clone());
                unknown.push(Unknown { path, known });
            }
        }
        let entries = Entries { reader: &self, known, left: table.iter(), value: None };
        visitor.visit_map(entries).map_err(|error| error.at(&self.path))
    }

    fn list<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let parsed;
        let items = match (&self.node.value, self.variable()) {
            (Value::List(items), _) => items,
            (_, Some(text)) => {
                parsed = split(text, &self.node.origin);
                &parsed
            }
            _ => return self.wrong(&visitor),
        };
        let items = Items { reader: &self, left: items.iter().enumerate() };
        visitor.visit_seq(items).map_err(|error| error.at(&self.path))
    }
}

/// `a,b` or a TOML list.
fn split(text: &str, origin: &Origin) -> Vec<Node> {
    let text = text.trim();
    if text.starts_with('[')
        && let Ok(node) = parse::toml(&format!("list = {text}"), Source::Default)
        && let Some(Node { value: Value::List(items), .. }) = node.get("list")
    {
        return items.clone();
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| Node::new(item, origin.clone())).collect()
}

struct Entries<'a, 'b> {
    reader: &'a Reader<'b>,
    known: Option<&'static [&'static str]>,
    left: indexmap::map::Iter<'a, String, Node>,
    value: Option<(&'a str, &'a Node)>,
}

impl<'de> de::MapAccess<'de> for Entries<'_, '_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        for (key, node) in self.left.by_ref() {
            if self.known.is_none_or(|known| known.contains(&key.as_str())) {
                self.value = Some((key, node));
                return seed.deserialize(key.as_str().into_deserializer()).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let Some((key, node)) = self.value.take() else {
            return Err(<Failure as de::Error>::custom("a value was asked for before its key"));
        };
        let reader = self.reader.inner(key, node);
        let path = reader.path.clone();
        seed.deserialize(reader).map_err(|error| error.at(&path))
    }
}

struct Items<'a, 'b> {
    reader: &'a Reader<'b>,
    left: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some((index, node)) = self.left.next() else {
            return Ok(None);
        };
        let reader = self.reader.inner(&index.to_string(), node);
        let path = reader.path.clone();
        seed.deserialize(reader).map(Some).map_err(|error| error.at(&path))
    }
}

macro_rules! forward {
    ($($method:ident)* => $to:ident) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            self.$to(visitor)
        })*
    };
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Failure;

    forward!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 => whole);
    forward!(deserialize_f32 deserialize_f64 => fraction);
    forward!(deserialize_char deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_identifier => deserialize_str);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Bool(_) => self.deserialize_bool(visitor),
            Value::Int(_) => self.whole(visitor),
            Value::Float(_) => self.fraction(visitor),
            Value::Text(_) => self.deserialize_str(visitor),
            Value::List(_) => self.list(visitor),
            Value::Table(_) => self.table(None, visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match (&self.node.value, self.variable().map(str::trim)) {
            (Value::Bool(value), _) => visitor.visit_bool(*value),
            (_, Some("true" | "1")) => visitor.visit_bool(true),
            (_, Some("false" | "0")) => visitor.visit_bool(false),
            _ => self.wrong(&visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let Value::Text(text) = &self.node.value else {
            return self.wrong(&visitor);
        };
        visitor.visit_str(text).map_err(|error: Failure| error.at(&self.path))
    }

    /// An empty variable is as none: shells cannot unset easily.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.variable() == Some("") { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.list(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        self.list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.list(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.table(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.table(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let Value::Text(text) = &self.node.value else {
            return self.wrong(&visitor);
        };
        let text: de::value::StrDeserializer<'_, Failure> = text.as_str().into_deserializer();
        visitor.visit_enum(text).map_err(|error| error.at(&self.path))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }
}
