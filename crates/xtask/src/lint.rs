//! `cargo xtask lint`: everything that is wrong with the text, all of it in one run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::MetadataCommand;

use crate::{
    child, codegen, compat, packages, place,
    progress::{say, seconds},
    tidy, tools,
};

/// The committed description of the REST API.
const OPENAPI: &str = "gateway/openapi.json";

const CLIPPY: &[&str] = &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];

/// How a check that found nothing wrong ended.
enum Outcome {
    Ok,
    /// Not run, and why: never taken for a pass.
    NotRun(String),
}

type Check<'a> = (&'static str, &'a dyn Fn() -> Result<Outcome>);

/// Runs every check, then names those that failed.
pub(crate) fn run(root: &Path) -> Result<()> {
    let checks: &[Check<'_>] = &[
        ("rustfmt", &|| cargo(root, &["fmt", "--check"]).map(|()| Outcome::Ok)),
        ("tidy", &|| tidy::run(root).map(|()| Outcome::Ok)),
        ("codegen is current", &|| codegen::run(root, true).map(|()| Outcome::Ok)),
        ("buf lint", &|| buf(root, &["lint"]).map(|()| Outcome::Ok)),
        ("buf breaking", &|| breaking(root)),
        ("openapi breaking", &|| openapi_breaking(root)),
        ("clippy", &|| clippy(root)),
        ("openapi is current", &|| openapi(root, true).map(|()| Outcome::Ok)),
        ("cargo-deny", &|| deny(root)),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        crate::interrupt::check()?;
        let begin = Instant::now();
        match check() {
            Ok(Outcome::Ok) => say(&format!("{name}: ok ({})", seconds(begin.elapsed()))),
            Ok(Outcome::NotRun(why)) => say(&format!("{name}: NOT RUN, {why}")),
            Err(error) => {
                say(&format!("{name}: FAILED\n{error:#}"));
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

/// Writes the description of the REST API, or compares it.
pub(crate) fn openapi(root: &Path, check: bool) -> Result<()> {
    let binary = binary(root, false)?;
    let current = child::output(Command::new(binary).arg("openapi").current_dir(root))?;
    let path = root.join(OPENAPI);
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if committed.trim() == current {
        return Ok(());
    }
    if check {
        bail!("{OPENAPI} is not what the descriptors say, run `cargo xtask openapi`");
    }
    fs::write(&path, format!("{current}\n")).with_context(|| format!("{}", path.display()))
}

/// What makes dependencies have the features that they have in tests, besides naming the whole workspace: without it almost all
/// would be built twice.
pub(crate) const AS_TESTED: [&str; 2] = ["--features", "coreloop-prove/as-tested"];

/// Builds the product and answers where it is. Features are those of the tests, so that nothing is built twice.
pub(crate) fn binary(root: &Path, release: bool) -> Result<PathBuf> {
    let mut args = vec!["build", "--workspace", "--bin", "coreloop"];
    args.extend(if release { &["--release"][..] } else { &AS_TESTED });
    cargo(root, &args)?;
    let metadata = MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec()?;
    let profile = if release { "release" } else { "debug" };
    Ok(metadata.target_directory.into_std_path_buf().join(profile).join("coreloop"))
}

fn cargo(root: &Path, args: &[&str]) -> Result<()> {
    finish(Command::new("cargo").args(args).current_dir(root))
}

fn buf(root: &Path, args: &[&str]) -> Result<()> {
    finish(Command::new(tools::buf(root)?).args(args).current_dir(root))
}

fn finish(command: &mut Command) -> Result<()> {
    let status = child::run(command)?;
    if status.success() { Ok(()) } else { bail!("{} {status}", command.get_program().display()) }
}

/// Looks at everything, which builds all that it links.
fn clippy(root: &Path) -> Result<Outcome> {
    packages::ensure_builders(&place::private(root)?.join("logs"))?;
    cargo(root, CLIPPY).map(|()| Outcome::Ok)
}

/// Compares the contracts with those of the branch point, or of the commit before.
fn breaking(root: &Path) -> Result<Outcome> {
    let Some(base) = base(root) else {
        return Ok(Outcome::NotRun("there is no earlier commit to compare with".to_owned()));
    };
    let old = root.join(format!("target/breaking-{}", std::process::id()));
    fs::create_dir_all(&old)?;
    let compared = match extract(root, &base, &old) {
        Ok(true) => buf(root, &["breaking", "--against", &old.display().to_string()])
            .map(|()| Outcome::Ok)
            .with_context(|| format!("compared with commit {base}")),
        Ok(false) => Ok(Outcome::NotRun(format!("commit {base} has no contracts to compare with"))),
        Err(error) => Err(error),
    };
    let _ = fs::remove_dir_all(&old);
    compared
}

/// Compares the description of the REST API with that of the same commit.
fn openapi_breaking(root: &Path) -> Result<Outcome> {
    let Some(base) = base(root) else {
        return Ok(Outcome::NotRun("there is no earlier commit to compare with".to_owned()));
    };
    let Ok(old) = git(root, &["show", &format!("{base}:{OPENAPI}")]) else {
        return Ok(Outcome::NotRun(format!("commit {base} has no {OPENAPI} to compare with")));
    };
    let new = fs::read_to_string(root.join(OPENAPI)).context(OPENAPI)?;
    let found = compat::breaks(&serde_json::from_str(&old)?, &serde_json::from_str(&new)?);
    match found.is_empty() {
        true => Ok(Outcome::Ok),
        false => bail!("compared with commit {base}:\n  {}", found.join("\n  ")),
    }
}

/// Writes the contracts of a commit into a folder; false when it had none.
fn extract(root: &Path, commit: &str, into: &Path) -> Result<bool> {
    let names = ["buf.yaml", "proto"];
    let has = |name: &str| git(root, &["cat-file", "-e", &format!("{commit}:{name}")]).is_ok();
    if !names.iter().all(|name| has(name)) {
        return Ok(false);
    }
    let archive = into.join("old.tar");
    git(root, &["archive", "--format=tar", "--output", &archive.display().to_string(), commit, "buf.yaml", "proto"])?;
    child::output(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(into))?;
    fs::remove_file(archive)?;
    Ok(true)
}

/// The commit to compare with: where this branch left origin's main; on main itself, the commit before.
fn base(root: &Path) -> Option<String> {
    let head = git(root, &["rev-parse", "HEAD"]).ok()?;
    let fork = git(root, &["merge-base", "HEAD", "origin/main"]).ok().filter(|fork| *fork != head);
    fork.or_else(|| git(root, &["rev-parse", "HEAD~1"]).ok())
}

fn git(root: &Path, args: &[&str]) -> Result<String> {
    // The checkout may belong to another user than the one who checks it, as in a container.
    let safe = format!("safe.directory={}", root.display());
    child::output(Command::new("git").args(["-c", &safe]).args(args).current_dir(root).stderr(Stdio::null()))
}

fn deny(root: &Path) -> Result<Outcome> {
    if packages::in_path("cargo-deny").is_none() {
        let why = "cargo-deny is not installed (`cargo install cargo-deny`): licences and advisories are unchecked";
        return Ok(Outcome::NotRun(why.to_owned()));
    }
    cargo(root, &["deny", "check"]).map(|()| Outcome::Ok)
}
