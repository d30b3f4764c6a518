//! A contract as a registry is shown it: the text of a file of ours, without comments and options.
//!
//! The binary has descriptors and no sources, and a registry compares texts: what says nothing of the wire (comments, rules of
//! validation, who may call) is left out, so that a change of it is no new version, and needs no imports of its own.

use std::{collections::HashMap, fmt::Write as _};

use prost_reflect::{
    DescriptorPool, FileDescriptor,
    prost_types::{
        DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
        field_descriptor_proto::{Label, Type},
    },
};

/// What comes with every registry.
const KNOWN: &str = "google/protobuf/";

/// The files whose types the messages of `file` use, in the order of their names.
pub(crate) fn imports(pool: &DescriptorPool, file: &FileDescriptor) -> Vec<FileDescriptor> {
    let mut used: Vec<FileDescriptor> = Vec::new();
    let mut messages: Vec<&DescriptorProto> = file.file_descriptor_proto().message_type.iter().collect();
    while let Some(message) = messages.pop() {
        messages.extend(&message.nested_type);
        for name in message.field.iter().filter_map(|field| field.type_name.as_deref()) {
            let name = name.trim_start_matches('.');
            let of_message = pool.get_message_by_name(name).map(|message| message.parent_file());
            let found = of_message.or_else(|| pool.get_enum_by_name(name).map(|found| found.parent_file()));
            used.extend(found.filter(|found| found.name() != file.name()));
        }
    }
    used.sort_by(|one, other| one.name().cmp(other.name()));
    used.dedup_by(|one, other| one.name() == other.name());
    used
}

/// Whether a registry knows a file by itself.
pub(crate) fn known(file: &FileDescriptor) -> bool {
    file.name().starts_with(KNOWN)
}

/// The text of a file that imports `imports`.
pub(crate) fn text(file: &FileDescriptorProto, imports: &[FileDescriptor]) -> String {
    let mut text = format!("syntax = \"{}\";\n", file.syntax());
    if !file.package().is_empty() {
        line(&mut text, 0, &format!("package {};", file.package()));
    }
    for import in imports {
        line(&mut text, 0, &format!("import \"{}\";", import.name()));
    }
    for message in &file.message_type {
        write_message(&mut text, message, 0);
    }
    for choice in &file.enum_type {
        write_enum(&mut text, choice, 0);
    }
    text
}

fn line(text: &mut String, depth: usize, what: &str) {
    // A text takes whatever is written.
    let _ = writeln!(text, "{:1$}{what}", "", depth * 2);
}

fn write_message(text: &mut String, message: &DescriptorProto, depth: usize) {
    line(text, depth, &format!("message {} {{", message.name()));
    let ranges = message.reserved_range.iter().map(|range| (range.start(), range.end() - 1));
    reserved(text, depth + 1, ranges.collect(), &message.reserved_name);
    for nested in message.nested_type.iter().filter(|nested| !is_entry(nested)) {
        write_message(text, nested, depth + 1);
    }
    for choice in &message.enum_type {
        write_enum(text, choice, depth + 1);
    }
    let mut open = None;
    for field in &message.field {
        let group = field.oneof_index.filter(|_| !field.proto3_optional());
        if group != open {
            if open.is_some() {
                line(text, depth + 1, "}");
            }
            let index = group.and_then(|index| usize::try_from(index).ok());
            if let Some(group) = index.and_then(|index| message.oneof_decl.get(index)) {
                line(text, depth + 1, &format!("oneof {} {{", group.name()));
            }
            open = group;
        }
        let depth = depth + 1 + usize::from(open.is_some());
        line(text, depth, &format!("{} {} = {};", kind(message, field), field.name(), field.number()));
    }
    if open.is_some() {
        line(text, depth + 1, "}");
    }
    line(text, depth, "}");
}

fn write_enum(text: &mut String, choice: &EnumDescriptorProto, depth: usize) {
    line(text, depth, &format!("enum {} {{", choice.name()));
    if choice.options.as_ref().is_some_and(|options| options.allow_alias()) {
        line(text, depth + 1, "option allow_alias = true;");
    }
    let ranges = choice.reserved_range.iter().map(|range| (range.start(), range.end()));
    reserved(text, depth + 1, ranges.collect(), &choice.reserved_name);
    for value in &choice.value {
        line(text, depth + 1, &format!("{} = {};", value.name(), value.number()));
    }
    line(text, depth, "}");
}

fn reserved(text: &mut String, depth: usize, ranges: Vec<(i32, i32)>, names: &[String]) {
    for (first, last) in ranges {
        line(text, depth, &format!("reserved {first} to {last};"));
    }
    for name in names {
        line(text, depth, &format!("reserved \"{name}\";"));
    }
}

/// What a field holds, as it is declared.
fn kind(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let name = field.type_name().rsplit('.').next().unwrap_or_default();
    let entry = message.nested_type.iter().find(|nested| is_entry(nested) && nested.name() == name);
    if let Some([key, value]) = entry.map(|entry| entry.field.as_slice()) {
        return format!("map<{}, {}>", one(key), one(value));
    }
    match field.label() {
        Label::Repeated => format!("repeated {}", one(field)),
        _ if field.proto3_optional() => format!("optional {}", one(field)),
        _ => one(field),
    }
}

fn one(field: &FieldDescriptorProto) -> String {
    let plain = match field.r#type() {
        Type::Double => "double",
        Type::Float => "float",
        Type::Int64 => "int64",
        Type::Uint64 => "uint64",
        Type::Int32 => "int32",
        Type::Fixed64 => "fixed64",
        Type::Fixed32 => "fixed32",
        Type::Bool => "bool",
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Uint32 => "uint32",
        Type::Sfixed32 => "sfixed32",
        Type::Sfixed64 => "sfixed64",
        Type::Sint32 => "sint32",
        Type::Sint64 => "sint64",
        Type::Group | Type::Message | Type::Enum => field.type_name().trim_start_matches('.'),
    };
    plain.to_owned()
}

fn is_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|options| options.map_entry())
}

/// The full names of the messages of somebody's schema, by their places; none for what is no file.
pub(crate) fn messages(text: &str) -> Option<HashMap<Vec<i32>, String>> {
    let file = protox_parse::parse("schema.proto", text).ok()?;
    let mut names = HashMap::new();
    let above = if file.package().is_empty() { String::new() } else { format!("{}.", file.package()) };
    let mut left: Vec<(Vec<i32>, String, &[DescriptorProto])> = vec![(Vec::new(), above, &file.message_type)];
    while let Some((path, above, messages)) = left.pop() {
        for (message, index) in messages.iter().zip(0..) {
            let (path, name) = ([&path[..], &[index]].concat(), format!("{above}{}", message.name()));
            left.push((path.clone(), format!("{name}."), &message.nested_type));
            names.insert(path, name);
        }
    }
    Some(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;

    use prost_reflect::prost_types::{EnumOptions, MessageOptions};
    use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

    use super::*;

    const FACTS: &str = "coreloop/event/v1/";

    /// The texts as an importer finds them.
    struct Texts(BTreeMap<String, String>);

    impl FileResolver for Texts {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            let text = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
            File::from_source(name, text)
        }
    }

    fn bare_message(message: &mut DescriptorProto) {
        let entry = is_entry(message);
        message.options = entry.then(|| MessageOptions { map_entry: Some(true), ..MessageOptions::default() });
        message.field.iter_mut().for_each(|field| field.options = None);
        message.oneof_decl.iter_mut().for_each(|oneof| oneof.options = None);
        message.enum_type.iter_mut().for_each(bare_enum);
        message.nested_type.iter_mut().for_each(bare_message);
    }

    fn bare_enum(choice: &mut EnumDescriptorProto) {
        let alias = choice.options.as_ref().and_then(|options| options.allow_alias);
        choice.options = alias.map(|alias| EnumOptions { allow_alias: Some(alias), ..EnumOptions::default() });
        choice.value.iter_mut().for_each(|value| value.options = None);
    }

    /// What of a file its text is to say.
    fn bare(mut file: FileDescriptorProto, imports: Vec<String>) -> FileDescriptorProto {
        file.message_type.iter_mut().for_each(bare_message);
        file.enum_type.iter_mut().for_each(bare_enum);
        (file.options, file.source_code_info, file.dependency) = (None, None, imports);
        file.service.clear();
        file
    }

    #[test]
    fn the_texts_of_all_facts_say_what_their_descriptors_do() {
        let pool = coreloop_transcode::descriptor::pool();
        let (mut texts, mut wanted) = (BTreeMap::new(), BTreeMap::new());
        let mut left: Vec<FileDescriptor> = pool.files().filter(|file| file.name().starts_with(FACTS)).collect();
        assert!(left.len() >= 4);
        while let Some(file) = left.pop() {
            let (imports, proto) = (imports(pool, &file), file.file_descriptor_proto());
            let names = imports.iter().map(|import| import.name().to_owned()).collect();
            texts.insert(file.name().to_owned(), text(proto, &imports));
            wanted.insert(file.name().to_owned(), bare(proto.clone(), names));
            left.extend(imports.into_iter().filter(|import| !known(import)));
        }
        let mut resolver = ChainFileResolver::new();
        resolver.add(Texts(texts.clone()));
        resolver.add(GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.open_files(texts.keys()).unwrap();
        let read = compiler.file_descriptor_set().file;
        assert_eq!(read.len(), wanted.len());
        for file in read {
            let imports = file.dependency.clone();
            assert_eq!(wanted[file.name()], bare(file, imports));
        }
        assert!(texts.values().all(|text| !text.contains("buf/validate") && !text.contains("coreloop/option")));
    }

    #[test]
    fn odd_shapes_are_written_as_they_are() {
        let source = "syntax = \"proto3\";\npackage a.b;\nmessage One {\n  reserved 3 to 5;\n  reserved \"gone\";\n  \
                      message Two {\n    bytes c = 1;\n  }\n  enum Three {\n    option allow_alias = true;\n    ZERO = 0;\n    \
                      NULL = 0;\n  }\n  map<string, a.b.One.Two> d = 1;\n  oneof e {\n    double f = 2;\n    a.b.One.Three g = 6;\n  \
                      }\n  optional sint64 h = 7;\n  repeated uint32 i = 8;\n}\n";
        let mut resolver = ChainFileResolver::new();
        resolver.add(Texts(BTreeMap::from([("x.proto".to_owned(), source.to_owned())])));
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.open_file("x.proto").unwrap();
        let file = compiler.descriptor_pool().get_file_by_name("x.proto").unwrap();
        assert_eq!(text(file.file_descriptor_proto(), &imports(&compiler.descriptor_pool(), &file)), source);
        let names = messages(source).unwrap();
        assert_eq!((names[&vec![0]].as_str(), names[&vec![0, 0]].as_str()), ("a.b.One", "a.b.One.Two"));
        assert_eq!(messages("{\"type\": \"string\"}"), None);
    }
}
