//! Writes each domain's stubs and the descriptor set from `proto/`. Generated code is committed: a clean build needs
//! no protoc, and editing one contract rebuilds one contract.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use prost::Message as _;
use prost_types::FileDescriptorSet;

/// Crate-relative homes of generated packages: (package prefix, folder that holds its file).
///
/// A domain that is not listed lives in `services/<domain>/api/src/gen`.
const HOMES: &[(&str, &str)] = &[
    ("coreloop.type.v1", "crates/core/src/gen"),
    ("google.api", "crates/core/src/gen"),
    ("coreloop.option.v1", "crates/transcode/src/gen"),
    ("coreloop.edge.v1", "gateway/src/gen"),
    ("coreloop.event.v1", "crates/facts/src/gen"),
    ("envoy.service.auth.v3", "services/auth/api/src/gen"),
    ("envoy.config.core.v3", "services/auth/api/src/gen"),
    ("envoy.type.v3", "services/auth/api/src/gen"),
    ("xds.core.v3", "services/auth/api/src/gen"),
];

/// Where the descriptor set of everything is written.
const DESCRIPTORS: &str = "crates/transcode/src/gen/coreloop.binpb";

/// Generates everything in place; with `check` changes nothing and fails when a file is not current.
pub(crate) fn run(root: &Path, check: bool) -> Result<()> {
    let mut out = Output { check, stale: Vec::new() };
    generate(root, &mut out)?;
    if out.stale.is_empty() {
        return Ok(());
    }
    bail!("not current, run `cargo xtask codegen`:\n  {}", out.stale.join("\n  "))
}

/// Where generated files go: to disk, or to a comparison.
struct Output {
    check: bool,
    stale: Vec<String>,
}

fn generate(root: &Path, out: &mut Output) -> Result<()> {
    let proto = root.join("proto");
    let mut files = Vec::new();
    protos(&proto.join("coreloop"), &mut files)?;
    let third = proto.join("third_party");
    files.push(third.join("envoy/service/auth/v3/external_auth.proto"));
    files.push(third.join("google/rpc/error_details.proto"));
    files.sort();

    let mut compiler = protox::Compiler::new([&proto, &third])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&files)?;
    // protox's own encoding keeps the options; a prost FileDescriptorSet drops extensions.
    let encoded = strip_foreign_source_info(&compiler.encode_file_descriptor_set())?;
    out.write(&root.join(DESCRIPTORS), &encoded)?;
    let set = compiler.file_descriptor_set();
    stubs(root, set, out)
}

fn protos(dir: &Path, out: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            protos(&path, out)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            out.push(path);
        }
    }
    Ok(())
}

/// Drops comments of third parties: they would double the size and OpenAPI does not show them.
///
/// Works on the raw encoding, because prost types would lose the options.
fn strip_foreign_source_info(encoded: &[u8]) -> Result<Vec<u8>> {
    use prost::bytes::{Buf as _, BufMut as _};
    use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
    let mut input = encoded;
    let mut out = Vec::with_capacity(encoded.len());
    while input.has_remaining() {
        let (_, _) = decode_key(&mut input)?;
        let length = usize::try_from(decode_varint(&mut input)?)?;
        let (file, rest) = input.split_at(length);
        input = rest;
        let ours = prost_types::FileDescriptorProto::decode(file)?.name().starts_with("coreloop/");
        let mut kept = Vec::with_capacity(file.len());
        let mut fields = file;
        while fields.has_remaining() {
            let before = fields;
            let (tag, wire) = decode_key(&mut fields)?;
            prost::encoding::skip_field(wire, tag, &mut fields, prost::encoding::DecodeContext::default())?;
            let consumed = before.len() - fields.len();
            // FileDescriptorProto.source_code_info = 9
            if ours || tag != 9 {
                kept.put_slice(before.get(..consumed).unwrap_or_default());
            }
        }
        encode_key(1, WireType::LengthDelimited, &mut out);
        encode_varint(kept.len() as u64, &mut out);
        out.put_slice(&kept);
    }
    Ok(out)
}

fn stubs(root: &Path, set: FileDescriptorSet, out: &mut Output) -> Result<()> {
    let tmp = root.join(format!("target/codegen-{}", std::process::id()));
    let _ = fs::remove_dir_all(&tmp);
    fs::create_dir_all(&tmp)?;
    let packages: Vec<String> = {
        let mut all: Vec<String> = set.file.iter().map(|f| f.package().to_owned()).collect();
        all.sort();
        all.dedup();
        all
    };
    tonic_prost_build::configure()
        .out_dir(&tmp)
        .build_transport(false)
        .codec_path("coreloop_core::codec::Protobuf")
        .bytes(".google.api.HttpBody")
        .extern_path(".google.api", "::coreloop_core::pb::google::api")
        .extern_path(".google.rpc", "::tonic_types::pb")
        .extern_path(".coreloop.type.v1", "::coreloop_core::pb::coreloop::r#type::v1")
        .emit_rerun_if_changed(false)
        .compile_fds(set.clone())?;
    let facts = facts(&set)?;
    // The two packages that the first pass maps to `core` are generated for core itself.
    let own = tmp.join("own");
    fs::create_dir_all(&own)?;
    tonic_prost_build::configure()
        .out_dir(&own)
        .build_transport(false)
        .bytes(".google.api.HttpBody")
        .emit_rerun_if_changed(false)
        .compile_fds(set)?;
    for package in packages {
        let Some(home) = home(&package) else { continue };
        // prost writes the keyword `type` as a raw identifier.
        let written = format!("{}.rs", package.replace(".type.", ".r#type."));
        let source = match package.as_str() {
            "coreloop.type.v1" | "google.api" => own.join(written),
            _ => tmp.join(written),
        };
        if !source.exists() {
            continue;
        }
        let text = fs::read_to_string(&source)? + facts.get(&package).map_or("", String::as_str);
        out.write(&root.join(home).join(format!("{package}.rs")), text.as_bytes())?;
    }
    let _ = fs::remove_dir_all(&tmp);
    Ok(())
}

/// Where facts are: `<FACTS><version>/<domain>.proto`.
const FACTS: &str = "coreloop/event/v";

/// What makes each message of the files of facts a fact, by package. Its name begins with its domain, from which its topic
/// follows; what it is made of stands inside it.
fn facts(set: &FileDescriptorSet) -> Result<BTreeMap<String, String>> {
    let mut facts = BTreeMap::<String, String>::new();
    for file in set.file.iter().filter(|file| file.name().starts_with(FACTS)) {
        let domain = file.name().rsplit('/').next().and_then(|name| name.strip_suffix(".proto")).unwrap_or_default();
        for name in file.message_type.iter().map(|message| message.name()) {
            if !crate::scaffold::snake(name).starts_with(&format!("{domain}_")) {
                bail!("{}: {name} is no fact of {domain}: begin its name with the domain, or nest it", file.name());
            }
            let package = file.package();
            let line = format!(
                "impl ::coreloop_core::Fact for {name} {{\n    const TYPE: &'static str = \"{package}.{name}\";\n}}\n"
            );
            facts.entry(package.to_owned()).or_default().push_str(&line);
        }
    }
    Ok(facts)
}

fn home(package: &str) -> Option<String> {
    if let Some((_, home)) = HOMES.iter().find(|(name, _)| *name == package) {
        return Some((*home).to_owned());
    }
    let domain = package.strip_prefix("coreloop.")?.split('.').next()?;
    Some(format!("services/{domain}/api/src/gen"))
}

impl Output {
    fn write(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        if fs::read(path).is_ok_and(|now| now == content) {
            return Ok(());
        }
        if self.check {
            self.stale.push(path.display().to_string());
            return Ok(());
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(path, content).with_context(|| format!("{}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_code_is_current() {
        run(&crate::place::root().unwrap(), true).unwrap();
    }

    #[test]
    fn a_fact_begins_with_its_domain() {
        let set = |name: &str| FileDescriptorSet {
            file: vec![prost_types::FileDescriptorProto {
                name: Some("coreloop/event/v1/shop.proto".into()),
                package: Some("coreloop.event.v1".into()),
                message_type: vec![prost_types::DescriptorProto { name: Some(name.into()), ..Default::default() }],
                ..Default::default()
            }],
        };
        let written = facts(&set("ShopSold")).unwrap();
        assert!(written["coreloop.event.v1"].contains("\"coreloop.event.v1.ShopSold\""), "{written:?}");
        let refused = facts(&set("Shopkeeper")).unwrap_err().to_string();
        assert!(refused.contains("Shopkeeper is no fact of shop"), "{refused}");
    }

    #[test]
    fn a_stale_file_is_named_and_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.rs");
        fs::write(&path, "old").unwrap();
        let mut out = Output { check: true, stale: Vec::new() };
        out.write(&path, b"new").unwrap();
        assert_eq!(out.stale, [path.display().to_string()]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    }
}
