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
    child, jars,
    lint::AS_TESTED,
    packages, place,
    postgres::{self, Plan},
    progress::say,
    state,
};

/// Kills of the short form and of the deep one (row M2 of chapter 09).
const KILLS: (u32, u32) = (25, 500);
/// Photos whose story is told under kills of their own.
const STORIES: (u32, u32) = (60, 1_000);

/// Builds and runs it.
pub(super) fn run(root: &Path, options: &Options) -> Result<()> {
    let private = place::private(root)?;
    let folder = private.join("prove");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let programs = programs(root, &folder, options.bugs.iter().all(|bug| bug != "none"))?;
    packages::ensure_servers(&["rabbitmq-server"], &private.join("logs"))?;
    let kafka = jars::kafka(root)?;
    let name = format!("prove-{}-pg", std::process::id());
    let port = state::any_free(&[]).context("no free port")?;
    let mut postgres = postgres::start(&Plan { root, name: &name, port, durable: true })?;
    // The harness starts it again itself, for it kills it.
    postgres.server.stop(Duration::from_secs(20))?;
    // What nobody waits for stays in memory for as long as may be: who takes it for written is found out by a crash.
    postgres.command.extend(["-c", "wal_writer_delay=10s"].map(str::to_owned));
    // One call instead of one for each of thousands of files, whenever it comes back from a crash.
    postgres.command.extend(["-c", "recovery_init_sync_method=syncfs"].map(str::to_owned));
    let seed = options.seed.unwrap_or_else(|| RandomState::new().hash_one("prove") >> 32);
    let kills = options.kills.unwrap_or(if options.short { KILLS.0 } else { KILLS.1 });
    let stories = match (options.stories, options.kills) {
        (Some(stories), _) => stories,
        (None, Some(0)) => 0,
        (None, _) => {
            if options.short {
                STORIES.0
            } else {
                STORIES.1
            }
        }
    };
    let mut command = Command::new(&programs.prove);
    command.current_dir(root).arg("run").arg("--product").arg(&programs.product).arg("--folder").arg(&folder);
    // What brokers leave behind when a run is killed goes with the next.
    command
        .env("TMPDIR", &folder)
        .env("CORELOOP_TEST_KAFKA", kafka)
        .args(options.over.iter().flat_map(|over| ["--over", over]));
    if let Some(product) = &programs.planted {
        command.arg("--planted-product").arg(product);
    }
    command.args(["--postgres-command", &serde_json::to_string(&postgres.command)?]);
    command.args(["--postgres-url", &postgres.url, "--seed", &seed.to_string(), "--kills", &kills.to_string()]);
    command.args(["--stories", &stories.to_string()]);
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

/// What is built.
struct Programs {
    product: PathBuf,
    /// The product that can have bugs.
    planted: Option<PathBuf>,
    /// The harness, which can have those of a consumer.
    prove: PathBuf,
}

/// Builds them and moves them to where no other build finds them. What can have bugs is built first; the product last, so that what
/// is left behind is what is shipped.
fn programs(root: &Path, folder: &Path, bugs: bool) -> Result<Programs> {
    let moved = |debug: &Path, name: &str, to: &str| -> Result<PathBuf> {
        let to = folder.join(to);
        fs::copy(debug.join(name), &to).with_context(|| format!("{name} was built"))?;
        Ok(to)
    };
    let debug = built(root, &["coreloop", "coreloop-prove"], bugs)?;
    let prove = moved(&debug, "coreloop-prove", "coreloop-prove")?;
    if !bugs {
        return Ok(Programs { product: moved(&debug, "coreloop", "coreloop")?, planted: None, prove });
    }
    let planted = Some(moved(&debug, "coreloop", "coreloop-planted")?);
    let product = moved(&built(root, &["coreloop"], false)?, "coreloop", "coreloop")?;
    Ok(Programs { product, planted, prove })
}

/// Builds programs; answers where they are. With the features of the tests, so that next to nothing is built after them.
fn built(root: &Path, names: &[&str], planted: bool) -> Result<PathBuf> {
    let mut build = Command::new("cargo");
    build.current_dir(root).args(["build", "--workspace"]).args(names.iter().flat_map(|name| ["--bin", name]));
    build.args(AS_TESTED).args(["--features", "coreloop/kafka"]);
    if planted {
        build.args(["--features", "coreloop/planted,coreloop-prove/planted"]);
        // What is built once for a run gains nothing from it, and pays for it.
        build.env("CARGO_INCREMENTAL", "0");
    }
    if !child::run(&mut build)?.success() {
        bail!("the build failed (above)");
    }
    let target = cargo_metadata::MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec()?;
    Ok(target.target_directory.into_std_path_buf().join("debug"))
}
