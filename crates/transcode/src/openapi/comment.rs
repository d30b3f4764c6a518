//! Comments of the protos, by element.

use std::collections::HashMap;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, EnumValueDescriptor, FieldDescriptor, MessageDescriptor, MethodDescriptor,
    ServiceDescriptor,
};

/// The leading comments of every file of `coreloop.*`.
#[derive(Debug)]
pub(super) struct Comments(HashMap<(String, Vec<i32>), String>);

/// The five lines that an RPC's comment has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) what: String,
    pub(super) permission: String,
    pub(super) idempotency: String,
    pub(super) emits: String,
    pub(super) reasons: Vec<String>,
}

impl Comments {
    pub(super) fn new(pool: &DescriptorPool) -> Self {
        let mut all = HashMap::new();
        for file in pool.files() {
            let Some(source) = &file.file_descriptor_proto().source_code_info else { continue };
            for location in &source.location {
                if let Some(comment) = &location.leading_comments {
                    let lines: Vec<&str> = comment.lines().map(str::trim).collect();
                    all.insert((file.name().to_owned(), location.path.clone()), lines.join("\n").trim().to_owned());
                }
            }
        }
        Self(all)
    }

    pub(super) fn service(&self, of: &ServiceDescriptor) -> &str {
        self.at(of.parent_file().name(), of.path())
    }

    pub(super) fn message(&self, of: &MessageDescriptor) -> &str {
        self.at(of.parent_file().name(), of.path())
    }

    pub(super) fn field(&self, of: &FieldDescriptor) -> &str {
        self.at(of.parent_message().parent_file().name(), of.path())
    }

    pub(super) fn enumeration(&self, of: &EnumDescriptor) -> &str {
        self.at(of.parent_file().name(), of.path())
    }

    pub(super) fn value(&self, of: &EnumValueDescriptor) -> &str {
        self.at(of.parent_enum().parent_file().name(), of.path())
    }

    pub(super) fn method(&self, of: &MethodDescriptor) -> Parts {
        Parts::parse(self.at(of.parent_service().parent_file().name(), of.path()))
    }

    fn at(&self, file: &str, path: &[i32]) -> &str {
        self.0.get(&(file.to_owned(), path.to_vec())).map_or("", String::as_str)
    }
}

impl Parts {
    fn parse(comment: &str) -> Self {
        let mut parts = Self::default();
        let mut reasons = String::new();
        // A line without a label goes on with the one before.
        let mut current = &mut parts.what;
        for line in comment.lines() {
            let (label, rest) = line.split_once(':').unwrap_or(("", line));
            let text = match label {
                "Permission" => {
                    current = &mut parts.permission;
                    rest
                }
                "Idempotency" => {
                    current = &mut parts.idempotency;
                    rest
                }
                "Emits" => {
                    current = &mut parts.emits;
                    rest
                }
                "Reasons" => {
                    current = &mut reasons;
                    rest
                }
                _ => line,
            };
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(text.trim());
        }
        let words = reasons.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        parts.reasons = words.filter(|w| w.len() > 2 && w.contains('_')).map(str::to_owned).collect();
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_lines_are_told_apart() {
        let parts = Parts::parse(
            "Does it: well.\nAnd more.\nPermission: any\nuser.\nIdempotency: none.\nEmits: nothing.\nReasons: A_B, as Login; INVITE_X2.",
        );
        assert_eq!(parts.what, "Does it: well. And more.");
        assert_eq!(parts.permission, "any user.");
        assert_eq!(parts.emits, "nothing.");
        assert_eq!(parts.reasons, ["A_B", "INVITE_X2"]);
        assert_eq!(Parts::parse("X.\nReasons: none of its own.").reasons, Vec::<String>::new());
    }
}
