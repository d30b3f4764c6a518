//! Scaffolding: what docs/adding-a-service.md and docs/adding-an-rpc.md describe, written in one go.
//!
//! Only text is made and inserted; the result is checked by the same compiler, lints and tidy rules as what people
//! write.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{child, codegen, progress::say};

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../templates/", $path, ".tmpl"))
    };
}

/// Files of a service: (path, template).
const SERVICE: &[(&str, &str)] = &[
    ("proto/coreloop/{{domain}}/v1/{{domain}}_service.proto", template!("service/service.proto")),
    ("services/{{domain}}/README.md", template!("service/readme.md")),
    ("services/{{domain}}/Cargo.toml", template!("service/cargo.toml")),
    ("services/{{domain}}/migrations/0001_{{domain}}.sql", template!("service/migration.sql")),
    ("services/{{domain}}/api/Cargo.toml", template!("service/api_cargo.toml")),
    ("services/{{domain}}/api/src/lib.rs", template!("service/api_lib.rs")),
    ("services/{{domain}}/src/lib.rs", template!("service/lib.rs")),
    ("services/{{domain}}/src/app.rs", template!("service/app.rs")),
    ("services/{{domain}}/src/error.rs", template!("service/error.rs")),
    ("services/{{domain}}/src/grpc.rs", template!("service/grpc.rs")),
    ("services/{{domain}}/src/grpc/get_overview.rs", template!("service/get_overview.rs")),
    ("services/{{domain}}/src/module.rs", template!("service/module.rs")),
    ("services/{{domain}}/src/options.rs", template!("service/options.rs")),
];

/// How the migration with the tables of an event store is called, after its number.
const EVENTS: &str = "_events.sql";

/// Makes a service, registers it and generates its stubs.
pub(crate) fn service(root: &Path, name: &str) -> Result<()> {
    for path in write_service(root, name)? {
        say(&format!("wrote {}", path.display()));
    }
    codegen::run(root, false)?;
    say(&format!("next: say in services/{name}/README.md what it owns, then `cargo xtask new-rpc {name} <Rpc>`"));
    Ok(())
}

/// Writes the migration that makes the tables of an event store.
pub(crate) fn events(root: &Path, domain: &str) -> Result<()> {
    say(&format!("wrote {}", write_events(root, domain)?.display()));
    say("next: the dependency coreloop-eventstore, and an Aggregate (docs/event-store.md)");
    Ok(())
}

/// Makes an RPC that answers UNIMPLEMENTED, and generates its stubs.
pub(crate) fn rpc(root: &Path, domain: &str, rpc: &str) -> Result<()> {
    for path in write_rpc(root, domain, rpc)? {
        say(&format!("wrote {}", path.display()));
    }
    codegen::run(root, false)?;
    say("next: state permission, limits and rules in the proto, then write the handler and its test");
    Ok(())
}

fn write_service(root: &Path, name: &str) -> Result<Vec<PathBuf>> {
    if !is_snake(name) || name.contains('_') {
        bail!("`{name}` is no name for a domain: lower-case letters and digits, beginning with a letter, as `wallet`");
    }
    if root.join("services").join(name).exists() || root.join("proto/coreloop").join(name).exists() {
        bail!("there is a domain `{name}` already");
    }
    let fill = |text: &str| {
        let upper = name.to_uppercase();
        text.replace("{{domain}}", name).replace("{{Domain}}", &pascal(name)).replace("{{DOMAIN}}", &upper)
    };
    // What can be refused is found out before anything is written.
    let mut edits = register(root, name)?;
    edits.push(edit(root, "Cargo.toml", |text| workspace(text, name))?);
    edits.push(edit(root, "crates/config/config.default.toml", |text| {
        Ok(format!("{}\n\n[{name}]\n", text.trim_end()))
    })?);
    edits.push(edit(root, "crates/coreloop/src/config.rs", |text| {
        let read = format!("coreloop_{name}::Options::read(&settings.section(\"{name}\"))");
        let line = |line: &&str| line.contains("coreloop_auth::Options::read(");
        let anchor = text.lines().find(line).context("no line that reads the settings of auth")?;
        after(text, anchor, &format!("    errors.absorb({read});"))
    })?);
    let mut written = Vec::new();
    for (path, template) in SERVICE {
        let path = root.join(fill(path));
        save(&path, &fill(template))?;
        written.push(path);
    }
    for (path, text) in edits {
        save(&path, &text)?;
        written.push(path);
    }
    format(&written);
    Ok(written)
}

fn write_events(root: &Path, domain: &str) -> Result<PathBuf> {
    let folder = root.join("services").join(domain).join("migrations");
    let mut last = 0;
    for entry in fs::read_dir(&folder).with_context(|| format!("`{domain}` has no {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(EVENTS) {
            bail!("{domain} has {name} already");
        }
        last = last.max(name.split('_').next().and_then(|number| number.parse::<u32>().ok()).unwrap_or(0));
    }
    let path = folder.join(format!("{:04}{EVENTS}", last + 1));
    save(&path, &include_str!("../../eventstore/templates/events.sql").replace("{{domain}}", domain))?;
    Ok(path)
}

fn write_rpc(root: &Path, domain: &str, rpc: &str) -> Result<Vec<PathBuf>> {
    let snake = snake(rpc);
    if rpc.is_empty() || pascal(&snake) != rpc {
        bail!("`{rpc}` is no name for an RPC: verb and noun, as `GetBalance`");
    }
    let path = snake.replace('_', "-");
    let fill = |text: &str| {
        text.replace("{{domain}}", domain).replace("{{Rpc}}", rpc).replace("{{rpc}}", &snake).replace("{{path}}", &path)
    };
    let service = format!("{}Service", pascal(domain));
    let handler = root.join(format!("services/{domain}/src/grpc/{snake}.rs"));
    if handler.exists() {
        bail!("{} is there already", handler.display());
    }
    let proto = edit(root, &format!("proto/coreloop/{domain}/v1/{domain}_service.proto"), |text| {
        if text.contains(&format!("rpc {rpc}(")) {
            bail!("{service} has an RPC {rpc} already");
        }
        let text = at_end_of(text, &format!("service {service} {{"), &fill(template!("rpc/rpc.proto")))?;
        Ok(format!("{}\n{}", text.trim_end(), fill(template!("rpc/messages.proto"))))
    })?;
    let table = edit(root, &format!("services/{domain}/src/grpc.rs"), |text| {
        let text = before(text, "pub mod ", &format!("pub mod {snake};"))?;
        let line = format!("    {snake} => {snake}::{snake}: {rpc}Request -> {rpc}Response;\n");
        at_end_of(&text, &format!("delegate!({service} {{"), &line)
    })?;
    let mut written = Vec::new();
    for (path, text) in [proto, table, (handler, fill(template!("rpc/handler.rs")))] {
        save(&path, &text)?;
        written.push(path);
    }
    format(&written);
    Ok(written)
}

/// Formats what was written: how a line breaks depends on the length of a name. A toolchain without rustfmt leaves it
/// as it is; `lint` tells.
fn format(written: &[PathBuf]) {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rustfmt.toml");
    for path in written.iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs")) {
        let mut rustfmt = Command::new("rustfmt");
        let _ = child::output(rustfmt.args(["--quiet", "--config-path", config]).arg(path));
    }
}

/// The root manifest with the two crates among its members and dependencies.
fn workspace(text: &str, name: &str) -> Result<String> {
    let text =
        after(text, "    \"services/auth/api\",", &format!("    \"services/{name}\",\n    \"services/{name}/api\","))?;
    let ours = format!(
        "coreloop-{name} = {{ path = \"services/{name}\" }}\ncoreloop-{name}-api = {{ path = \"services/{name}/api\" }}"
    );
    after(&text, "coreloop-auth-api = { path = \"services/auth/api\" }", &ours)
}

/// The lists of modules, of the binary and of the test kit's mesh, with the new one after auth.
fn register(root: &Path, name: &str) -> Result<Vec<(PathBuf, String)>> {
    let list = "coreloop_auth::module()";
    let mut edits = Vec::new();
    for owner in ["crates/coreloop", "crates/testkit"] {
        let mut sources = Vec::new();
        rust_files(&root.join(owner).join("src"), &mut sources)?;
        let mut listed = false;
        for path in sources {
            let text = fs::read_to_string(&path)?;
            let Some(line) = text.lines().find(|line| line.contains(list)) else { continue };
            if line.matches("module()").count() > 1 {
                bail!("{} lists several modules in a line; each needs its own", path.display());
            }
            let own = line.replace("coreloop_auth", &format!("coreloop_{name}"));
            edits.push((path, after(&text, line, &own.replace("\"auth\"", &format!("\"{name}\"")))?));
            listed = true;
        }
        if !listed {
            bail!("{owner}/src has no line with `{list}` to register the module after");
        }
        edits.push(edit(root, &format!("{owner}/Cargo.toml"), |text| {
            after(text, "coreloop-auth.workspace = true", &format!("coreloop-{name}.workspace = true"))
        })?);
    }
    Ok(edits)
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads a file and answers it changed.
fn edit(root: &Path, path: &str, change: impl FnOnce(&str) -> Result<String>) -> Result<(PathBuf, String)> {
    let path = root.join(path);
    let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let changed = change(&text).with_context(|| format!("{}", path.display()))?;
    Ok((path, changed))
}

fn save(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// Puts lines after the line that equals `anchor`.
fn after(text: &str, anchor: &str, lines: &str) -> Result<String> {
    let found = text.lines().any(|line| line == anchor);
    if !found {
        bail!("no line `{}` to insert after", anchor.trim());
    }
    Ok(text
        .lines()
        .map(|line| if line == anchor { format!("{line}\n{lines}\n") } else { format!("{line}\n") })
        .collect())
}

/// Puts a line before the first one that begins with `anchor`.
fn before(text: &str, anchor: &str, new: &str) -> Result<String> {
    let Some(index) = text.lines().position(|line| line.starts_with(anchor)) else {
        bail!("no line that begins with `{anchor}` to insert before");
    };
    let mut lines: Vec<&str> = text.lines().collect();
    lines.insert(index, new);
    Ok(format!("{}\n", lines.join("\n")))
}

/// Puts text at the end of the block that the line `begin` opens and the next line that begins with `}` closes.
fn at_end_of(text: &str, begin: &str, new: &str) -> Result<String> {
    let Some(start) = text.lines().position(|line| line == begin) else { bail!("no line `{begin}`") };
    let close = text.lines().skip(start).position(|line| line.starts_with('}'));
    let Some(close) = close.map(|close| start + close) else { bail!("`{begin}` is not closed") };
    let mut out = String::new();
    for (index, line) in text.lines().enumerate() {
        if index == close {
            out.push_str(new);
        }
        out.push_str(line);
        out.push('\n');
    }
    Ok(out)
}

fn is_snake(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn pascal(snake: &str) -> String {
    let upper = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
    };
    snake.split('_').map(upper).collect()
}

/// `GetMe` as `get_me`.
pub(crate) fn snake(pascal: &str) -> String {
    let mut out = String::new();
    for c in pascal.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod compiles;
#[cfg(test)]
mod tests;
