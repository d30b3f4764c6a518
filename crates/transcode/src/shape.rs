//! Descriptors compiled into tables, once: what the request writer and the response writer look up per field.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind as Declared, MessageDescriptor};

use crate::{options, pb::option};

/// Every message and enum of a pool.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    messages: Vec<Message>,
    enums: Vec<Enum>,
    by_name: HashMap<String, usize>,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) name: String,
    /// In declaration order, as JSON is written.
    pub(crate) fields: Vec<Field>,
    pub(crate) known: Option<WellKnown>,
    /// Number -> index in `fields`, sorted by number.
    by_number: Vec<(u32, usize)>,
    /// Proto name and JSON name -> index in `fields`.
    by_name: HashMap<Box<str>, usize>,
}

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) name: String,
    /// `"name":`, escaped.
    pub(crate) key: Box<str>,
    pub(crate) kind: Kind,
    pub(crate) card: Card,
    /// Index of the oneof it belongs to; synthetic ones are not counted.
    pub(crate) oneof: Option<usize>,
    /// A 64-bit integer written to JSON as a number.
    pub(crate) safe_integer: bool,
    /// A client's value is discarded.
    pub(crate) server_only: bool,
    /// Never logged, so it has no place in an address.
    pub(crate) secret: bool,
}

/// How often a field occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Card {
    /// Once, absent and default told apart.
    Presence,
    /// Once, absent is the default.
    Implicit,
    List,
    /// The kind is the entry message: field 1 the key, field 2 the value.
    Map,
}

/// Type of a field; messages and enums by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Enum(usize),
    Message(usize),
}

/// Messages with a JSON form of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WellKnown {
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    Value,
    ListValue,
    Any,
    Wrapper,
    HttpBody,
}

/// One enum.
#[derive(Debug)]
pub(crate) struct Enum {
    pub(crate) is_null: bool,
    /// Sorted by number; the first declared name of each.
    by_number: Vec<(i32, Box<str>)>,
    by_name: HashMap<Box<str>, i32>,
}

impl Shapes {
    /// Compiles a pool.
    pub(crate) fn new(pool: &DescriptorPool) -> Self {
        let mut shapes = Self::default();
        let mut enums = HashMap::new();
        for (index, declared) in pool.all_enums().enumerate() {
            enums.insert(declared.full_name().to_owned(), index);
            shapes.enums.push(Enum::new(&declared));
        }
        shapes.by_name = pool.all_messages().enumerate().map(|(i, m)| (m.full_name().to_owned(), i)).collect();
        let kinds = Kinds { messages: &shapes.by_name, enums: &enums };
        shapes.messages = pool.all_messages().map(|m| Message::new(&m, &kinds)).collect();
        shapes
    }

    /// Index of a message by full name.
    pub(crate) fn index(&self, full_name: &str) -> Option<usize> {
        self.by_name.get(full_name).copied()
    }

    /// Message of an index that this table gave out.
    pub(crate) fn message(&self, index: usize) -> &Message {
        #[expect(clippy::indexing_slicing, reason = "indexes are made by this table and never leave the crate")]
        &self.messages[index]
    }

    /// Enum of an index that this table gave out.
    pub(crate) fn enumeration(&self, index: usize) -> &Enum {
        #[expect(clippy::indexing_slicing, reason = "indexes are made by this table and never leave the crate")]
        &self.enums[index]
    }
}

impl Message {
    fn new(declared: &MessageDescriptor, kinds: &Kinds<'_>) -> Self {
        let mut fields: Vec<FieldDescriptor> = declared.fields().collect();
        fields.sort_by_key(|f| f.path().last().copied());
        let fields: Vec<Field> = fields.iter().map(|f| Field::new(f, kinds)).collect();
        let mut by_number: Vec<_> = fields.iter().enumerate().map(|(i, f)| (f.number, i)).collect();
        by_number.sort_unstable();
        let mut by_name = HashMap::new();
        for (index, field) in fields.iter().enumerate() {
            by_name.insert(field.name.as_str().into(), index);
            if let Some(field) = declared.get_field(field.number) {
                by_name.entry(field.json_name().into()).or_insert(index);
            }
        }
        Self {
            name: declared.full_name().to_owned(),
            fields,
            known: well_known(declared.full_name()),
            by_number,
            by_name,
        }
    }

    /// Index of a field by number.
    pub(crate) fn numbered(&self, number: u32) -> Option<usize> {
        // Most messages number their fields 1, 2, 3 in order.
        if let Some((n, index)) = self.by_number.get((number as usize).wrapping_sub(1))
            && *n == number
        {
            return Some(*index);
        }
        let at = self.by_number.binary_search_by_key(&number, |(n, _)| *n).ok()?;
        self.by_number.get(at).map(|(_, index)| *index)
    }

    /// Index of a field by proto name or JSON name.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Field of an index that this message gave out.
    pub(crate) fn field(&self, index: usize) -> &Field {
        #[expect(clippy::indexing_slicing, reason = "indexes are made by this table and never leave the crate")]
        &self.fields[index]
    }
}

impl Field {
    fn new(declared: &FieldDescriptor, kinds: &Kinds<'_>) -> Self {
        // Reading options is most of the start's work; only our own fields have rules, and most have no options at all.
        let ours = declared.parent_message().package_name().starts_with("coreloop.");
        let rule = if ours && declared.field_descriptor_proto().options.is_some() {
            options::field_rule(declared)
        } else {
            option::FieldRule::default()
        };
        let card = if declared.is_map() {
            Card::Map
        } else if declared.is_list() {
            Card::List
        } else if declared.supports_presence() {
            Card::Presence
        } else {
            Card::Implicit
        };
        let oneof = declared.containing_oneof().filter(|o| o.fields().len() > 1 || !optional(declared));
        Self {
            number: declared.number(),
            name: declared.name().to_owned(),
            key: format!("\"{}\":", declared.name()).into(),
            kind: kinds.kind(&declared.kind()),
            card,
            oneof: oneof.and_then(|o| o.path().last().copied()).and_then(|i| usize::try_from(i).ok()),
            safe_integer: rule.safe_integer,
            server_only: rule.server_only,
            secret: rule.secret,
        }
    }
}

impl Enum {
    fn new(declared: &EnumDescriptor) -> Self {
        let mut by_number: Vec<(i32, Box<str>)> = Vec::new();
        let mut by_name = HashMap::new();
        for value in declared.values() {
            by_name.insert(value.name().into(), value.number());
            if !by_number.iter().any(|(number, _)| *number == value.number()) {
                by_number.push((value.number(), value.name().into()));
            }
        }
        by_number.sort_unstable_by_key(|(number, _)| *number);
        Self { is_null: declared.full_name() == "google.protobuf.NullValue", by_number, by_name }
    }

    /// Name of a number.
    pub(crate) fn name(&self, number: i32) -> Option<&str> {
        let at = self.by_number.binary_search_by_key(&number, |(n, _)| *n).ok()?;
        self.by_number.get(at).map(|(_, name)| &**name)
    }

    /// Number of a name.
    pub(crate) fn number(&self, name: &str) -> Option<i32> {
        self.by_name.get(name).copied()
    }
}

struct Kinds<'a> {
    messages: &'a HashMap<String, usize>,
    enums: &'a HashMap<String, usize>,
}

impl Kinds<'_> {
    fn kind(&self, declared: &Declared) -> Kind {
        match declared {
            Declared::Double => Kind::Double,
            Declared::Float => Kind::Float,
            Declared::Int32 => Kind::Int32,
            Declared::Int64 => Kind::Int64,
            Declared::Uint32 => Kind::Uint32,
            Declared::Uint64 => Kind::Uint64,
            Declared::Sint32 => Kind::Sint32,
            Declared::Sint64 => Kind::Sint64,
            Declared::Fixed32 => Kind::Fixed32,
            Declared::Fixed64 => Kind::Fixed64,
            Declared::Sfixed32 => Kind::Sfixed32,
            Declared::Sfixed64 => Kind::Sfixed64,
            Declared::Bool => Kind::Bool,
            Declared::String => Kind::String,
            Declared::Bytes => Kind::Bytes,
            // A pool is closed: every type it names is in it.
            Declared::Enum(e) => Kind::Enum(self.enums.get(e.full_name()).copied().unwrap_or_default()),
            Declared::Message(m) => Kind::Message(self.messages.get(m.full_name()).copied().unwrap_or_default()),
        }
    }
}

/// Declared `optional` in proto3, whose oneof is synthetic.
fn optional(declared: &FieldDescriptor) -> bool {
    declared.field_descriptor_proto().proto3_optional()
}

fn well_known(full_name: &str) -> Option<WellKnown> {
    Some(match full_name {
        "google.protobuf.Timestamp" => WellKnown::Timestamp,
        "google.protobuf.Duration" => WellKnown::Duration,
        "google.protobuf.FieldMask" => WellKnown::FieldMask,
        "google.protobuf.Struct" => WellKnown::Struct,
        "google.protobuf.Value" => WellKnown::Value,
        "google.protobuf.ListValue" => WellKnown::ListValue,
        "google.protobuf.Any" => WellKnown::Any,
        "google.api.HttpBody" => WellKnown::HttpBody,
        "google.protobuf.DoubleValue"
        | "google.protobuf.FloatValue"
        | "google.protobuf.Int64Value"
        | "google.protobuf.UInt64Value"
        | "google.protobuf.Int32Value"
        | "google.protobuf.UInt32Value"
        | "google.protobuf.BoolValue"
        | "google.protobuf.StringValue"
        | "google.protobuf.BytesValue" => WellKnown::Wrapper,
        _ => return None,
    })
}
