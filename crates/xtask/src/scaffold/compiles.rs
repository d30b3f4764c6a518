//! What is scaffolded compiles: in a copy of this checkout, with this checkout's target folder.
//!
//! The copy stays where it is, and only what changed is written to it, so that cargo finds what it compiled before. Its
//! packages have versions of their own: cargo tells packages apart by name, version and place in the workspace, and would
//! take what it compiled of the copy for what is here.

use super::*;

/// What is no source.
const LEFT_OUT: [&str; 4] = ["target", ".git", ".coreloop", ".tools"];

/// Makes `to` the same as `from`, writing only what differs.
fn mirror(from: &Path, to: &Path, top: bool) {
    fs::create_dir_all(to).unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if top && LEFT_OUT.iter().any(|out| name == *out) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        names.push(name);
        if entry.file_type().unwrap().is_dir() {
            mirror(&source, &target, false);
            continue;
        }
        let text = fs::read(&source).unwrap();
        if fs::read(&target).ok().as_ref() != Some(&text) {
            fs::write(&target, text).unwrap();
        }
    }
    for entry in fs::read_dir(to).unwrap() {
        let entry = entry.unwrap();
        if !names.contains(&entry.file_name()) {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.unwrap();
        }
    }
}

/// Gives every package of the copy a version of its own.
fn set_apart(root: &Path) {
    let vendored = "crates/vendor/prost-protovalidate-types/Cargo.toml";
    for manifest in ["Cargo.toml", vendored] {
        let path = root.join(manifest);
        let text = fs::read_to_string(&path).unwrap();
        let own = text.lines().find(|line| line.starts_with("version = \"")).unwrap();
        let apart = format!("{}+scaffold\"", own.trim_end_matches('"'));
        fs::write(&path, text.replacen(own, &apart, 1)).unwrap();
    }
}

#[test]
fn a_new_service_and_new_rpcs_compile() {
    let root = crate::place::root().unwrap();
    let staged = tempfile::tempdir().unwrap();
    mirror(&root, staged.path(), true);
    write_service(staged.path(), "gadget").unwrap();
    write_rpc(staged.path(), "gadget", "PreviewThing").unwrap();
    write_rpc(staged.path(), "auth", "PreviewThing").unwrap();
    codegen::run(staged.path(), false).unwrap();
    set_apart(staged.path());

    let copy = root.join("target/scaffold");
    mirror(staged.path(), &copy, false);
    let mut check = Command::new(env!("CARGO"));
    check.current_dir(&copy).env("CARGO_TARGET_DIR", root.join("target"));
    check.args(["check", "--offline", "--tests", "-p", "coreloop", "-p", "coreloop-gadget", "-p", "coreloop-testkit"]);
    let checked = check.output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
