//! Scaffolds into a copy of what the scaffold reads, and holds the result to the compiler's parser, protox and tidy.

use super::*;

/// A copy of the parts of this checkout that scaffolding reads and changes.
fn copy() -> tempfile::TempDir {
    let root = crate::place::root().unwrap();
    let dir = tempfile::tempdir().unwrap();
    for part in [
        "Cargo.toml",
        "proto",
        "crates/coreloop",
        "crates/config/config.default.toml",
        "crates/testkit",
        "services/auth/src/grpc.rs",
    ] {
        let target = dir.path().join(part);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        assert!(Command::new("cp").arg("-r").arg(root.join(part)).arg(&target).status().unwrap().success());
    }
    dir
}

fn read(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file parses, is formatted, and has no placeholder left.
fn well_formed(root: &Path, under: &str) {
    let files = Command::new("find").arg(root.join(under)).args(["-name", "*.rs"]).output().unwrap();
    let files: Vec<String> = String::from_utf8(files.stdout).unwrap().lines().map(str::to_owned).collect();
    assert!(!files.is_empty());
    for file in &files {
        assert!(!fs::read_to_string(file).unwrap().contains("{{"), "{file}");
    }
    // A module file would be followed into files that codegen has not written.
    let source = files.iter().filter(|file| !file.ends_with("api/src/lib.rs"));
    let config = crate::place::root().unwrap().join("rustfmt.toml");
    let format = Command::new("rustfmt").arg("--check").arg("--config-path").arg(config).args(source).output().unwrap();
    assert!(format.status.success(), "{}", String::from_utf8_lossy(&format.stdout));
}

fn compiles_as_proto(root: &Path, domain: &str) {
    let proto = root.join("proto");
    let mut compiler = protox::Compiler::new([&proto, &proto.join("third_party")]).unwrap();
    compiler.open_file(format!("coreloop/{domain}/v1/{domain}_service.proto")).unwrap();
}

#[test]
fn a_service_is_whole() {
    let dir = copy();
    let root = dir.path();
    write_service(root, "gadget").unwrap();
    well_formed(root, "services/gadget");
    compiles_as_proto(root, "gadget");
    let manifest: toml::Table = read(root, "Cargo.toml").parse().unwrap();
    let workspace = manifest["workspace"].as_table().unwrap();
    let members: Vec<&str> = workspace["members"].as_array().unwrap().iter().filter_map(|m| m.as_str()).collect();
    assert!(members.contains(&"services/gadget") && members.contains(&"services/gadget/api"), "{members:?}");
    let known = workspace["dependencies"].as_table().unwrap();
    for crate_dir in ["services/gadget", "services/gadget/api"] {
        let own: toml::Table = read(root, &format!("{crate_dir}/Cargo.toml")).parse().unwrap();
        for dependency in own["dependencies"].as_table().unwrap().keys() {
            assert!(known.contains_key(dependency), "{crate_dir} uses {dependency}");
        }
    }
    assert!(read(root, "crates/coreloop/Cargo.toml").contains("coreloop-gadget.workspace = true"));
    assert!(read(root, "crates/config/config.default.toml").ends_with("\n[gadget]\n"));
    assert!(read(root, "crates/coreloop/src/config.rs").contains("coreloop_gadget::Options::read("));
    for (registered, _) in register(root, "other").unwrap() {
        assert!(fs::read_to_string(registered).unwrap().contains("gadget"));
    }
}

#[test]
fn an_rpc_is_whole_in_a_new_service_and_in_auth() {
    let dir = copy();
    let root = dir.path();
    write_service(root, "gadget").unwrap();
    for domain in ["gadget", "auth"] {
        write_rpc(root, domain, "PreviewThing").unwrap();
        compiles_as_proto(root, domain);
        let grpc = read(root, &format!("services/{domain}/src/grpc.rs"));
        assert!(grpc.contains("pub mod preview_thing;"), "{grpc}");
        let line = "preview_thing => preview_thing::preview_thing: PreviewThingRequest -> PreviewThingResponse;";
        assert_eq!(grpc.matches(line).count(), 1, "{grpc}");
        let error = format!("{:#}", write_rpc(root, domain, "PreviewThing").unwrap_err());
        assert!(error.contains("already"), "{error}");
    }
    well_formed(root, "services/gadget");
}

#[test]
fn names_that_break_the_rules_are_refused_and_nothing_is_written() {
    let dir = copy();
    let root = dir.path();
    let before = read(root, "Cargo.toml");
    for name in ["Wallet", "my-wallet", "9lives", "", "auth"] {
        assert!(write_service(root, name).is_err(), "{name}");
    }
    assert!(write_rpc(root, "auth", "getThing").is_err());
    assert!(write_rpc(root, "nowhere", "GetThing").is_err());
    assert_eq!(read(root, "Cargo.toml"), before);
}

#[test]
fn the_tables_of_an_event_store_are_the_next_migration_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    assert!(write_events(root, "wallet").is_err(), "there is no such service");
    save(&root.join("services/wallet/migrations/0009_wallet.sql"), "").unwrap();
    let written = write_events(root, "wallet").unwrap();
    assert_eq!(written, root.join("services/wallet/migrations/0010_events.sql"));
    let text = read(root, "services/wallet/migrations/0010_events.sql");
    assert!(text.contains("create table wallet.events (") && !text.contains("{{"), "{text}");
    assert!(write_events(root, "wallet").is_err(), "it has them");
}
