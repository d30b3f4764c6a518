//! The harness of `crates/prove`: built beside the product, given a PostgreSQL of its own that writes through, and run.

use std::{
    fs,
    hash::{BuildHasher as _, RandomState},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::Options;
use crate::{
    child, packages, place,
    postgres::{self, Plan},
    progress::say,
    state,
};

/// Kills of the short form and of the deep one (row M2 of chapter 09).
const KILLS: (u32, u32) = (25, 500);

/// Builds and runs it.
pub(super) fn run(root: &Path, options: &Options) -> Result<()> {
    let private = place::private(root)?;
    let folder = private.join("prove");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let planted = options.bugs.iter().all(|bug| bug != "none").then(|| planted(root, &folder)).transpose()?;
    let (product, prove) = built(root, &[])?;
    packages::ensure_servers(&[], &private.join("logs"))?;
    let name = format!("prove-{}-pg", std::process::id());
    let port = state::any_free(&[]).context("no free port")?;
    let mut postgres = postgres::start(&Plan { root, name: &name, port, durable: true })?;
    // The harness starts it again itself, for it kills it.
    postgres.server.stop(Duration::from_secs(20))?;
    let seed = options.seed.unwrap_or_else(|| RandomState::new().hash_one("prove") >> 32);
    let kills = options.kills.unwrap_or(if options.short { KILLS.0 } else { KILLS.1 });
    let mut command = Command::new(prove);
    command.current_dir(root).arg("run").arg("--product").arg(product).arg("--folder").arg(&folder);
    if let Some((product, prove)) = planted {
        command.arg("--planted-product").arg(product).arg("--planted-prove").arg(prove);
    }
    command.args(["--postgres-command", &serde_json::to_string(&postgres.command)?]);
    command.args(["--postgres-url", &postgres.url, "--seed", &seed.to_string(), "--kills", &kills.to_string()]);
    if !options.bugs.is_empty() {
        command.args(["--bugs", &options.bugs.join(",")]);
    }
    let status = child::run(&mut command);
    drop(postgres);
    place::drop_data(&private.join(&name))?;
    let _none_left = fs::remove_file(private.join(format!("{name}.password")));
    if status?.success() {
        return Ok(());
    }
    say(&format!("journals and logs are in {}", folder.display()));
    bail!("not proven (above); again: cargo xtask prove{} --seed {seed}", if options.short { " --short" } else { "" })
}

/// The product and the harness that can have bugs, moved to where no other build finds them.
fn planted(root: &Path, folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let (product, prove) = built(root, &["--features", "coreloop/planted,coreloop-prove/planted"])?;
    let (to_product, to_prove) = (folder.join("coreloop-planted"), folder.join("coreloop-prove-planted"));
    fs::copy(&product, &to_product).with_context(|| product.display().to_string())?;
    fs::copy(&prove, &to_prove).with_context(|| prove.display().to_string())?;
    Ok((to_product, to_prove))
}

/// Builds both programs, with the features of the whole workspace, so that little is built twice.
fn built(root: &Path, more: &[&str]) -> Result<(PathBuf, PathBuf)> {
    let mut build = Command::new("cargo");
    build.current_dir(root).args(["build", "--workspace", "--bin", "coreloop", "--bin", "coreloop-prove"]).args(more);
    if !child::run(&mut build)?.success() {
        bail!("the build failed (above)");
    }
    let target = cargo_metadata::MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec()?;
    let debug = target.target_directory.into_std_path_buf().join("debug");
    Ok((debug.join("coreloop"), debug.join("coreloop-prove")))
}
