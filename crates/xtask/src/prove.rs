//! `cargo xtask prove`: the harness that kills and cuts a mesh (`crates/prove`), then the tests of the promises with the figures of
//! chapter 09, on throw-away servers. The short form is the harness alone, with the figures of every run.
//!
//! Which tests have a long form is read from them: those of every file that asks the test kit for it (`deep()`, `figure()`, `Rounds`).

mod harness;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{child, lint, progress::say, test::Surroundings, tools};

/// What a test that has a long form says.
const ASKS: [&str; 3] = ["deep()", "figure(", "Rounds::of("];

/// What is proven.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Of all integration tests those whose name contains it, with the figures of chapter 09, and nothing else.
    filter: Option<String>,
    /// The harness alone: 25 kills, 60 stories of photos, and every planted bug.
    #[arg(long)]
    short: bool,
    /// Repeats the decisions of a run of the harness, which printed it.
    #[arg(long)]
    seed: Option<u64>,
    /// Kills, instead of the 25 of the short form and the 500 of the deep one.
    #[arg(long)]
    kills: Option<u32>,
    /// Stories of photos under kills, instead of the 60 of the short form and the 1,000 of the deep one; none where no other kills
    /// are asked for.
    #[arg(long)]
    stories: Option<u32>,
    /// Only kills of this kind: `redis`, which carries all, or `brokers`: Kafka carries events and RabbitMQ commands.
    #[arg(long)]
    over: Option<String>,
    /// Only these planted bugs; `none` for none.
    #[arg(long, value_delimiter = ',')]
    bugs: Vec<String>,
}

impl Options {
    /// What continuous integration runs: the short form.
    pub(crate) fn short() -> Self {
        Self { filter: None, short: true, seed: None, kills: None, stories: None, over: None, bugs: Vec::new() }
    }
}

/// Proves what was asked for.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    match &options.filter {
        Some(filter) => tests(root, Some(filter)),
        None if options.short => harness::run(root, options),
        None => harness::run(root, options).and_then(|()| tests(root, None)),
    }
}

/// Runs the long forms, one test at a time and with all that they print (their seeds, what they saw): those that have
/// one, or of all tests those whose name contains `filter`.
fn tests(root: &Path, filter: Option<&str>) -> Result<()> {
    let targets = match filter {
        Some(filter) => targets(root)?.into_keys().map(|target| (target, vec![filter.to_owned()])).collect(),
        None => targets(root)?,
    };
    let surroundings = Surroundings::start(root, false)?;
    let envoy = tools::envoy(root)?;
    // Some promises are about processes of the product that are killed.
    let product = lint::binary(root, false)?;
    let mut failed = Vec::new();
    for (target, filters) in &targets {
        say(&format!("{target}: {}", if filters.is_empty() { "all".to_owned() } else { filters.join(" ") }));
        let mut command = Command::new("cargo");
        command.current_dir(root).envs(surroundings.environment(&envoy)).env("CORELOOP_TEST_DEEP", "1");
        command.env("CORELOOP_TEST_BINARY", &product);
        command.args(["test", "--package", "it", "--test", target, "--"]).args(filters);
        command.args(["--test-threads", "1", "--nocapture"]);
        if !child::run(&mut command)?.success() {
            failed.push(target.as_str());
        }
    }
    drop(surroundings);
    if failed.is_empty() { Ok(()) } else { bail!("not proven (above): {}", failed.join(", ")) }
}

/// Targets of the package `it` with the filters that name their tests with a long form; no filter is all of a target.
fn targets(root: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let tests = root.join("tests");
    let (mut files, mut targets) = (Vec::new(), BTreeMap::<String, Vec<String>>::new());
    sources(&tests, &mut files)?;
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
        if !ASKS.iter().any(|asks| text.contains(asks)) {
            continue;
        }
        let parts: Vec<&str> = file.strip_prefix(&tests)?.iter().filter_map(|part| part.to_str()).collect();
        let [target, modules @ .., name] = parts.as_slice() else { continue };
        let filters = targets.entry((*target).to_owned()).or_default();
        if *target == "it" {
            let mut path = modules.to_vec();
            path.push(name.trim_end_matches(".rs"));
            filters.push(format!("{}::", path.join("::")));
        }
    }
    Ok(targets)
}

fn sources(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, files)?;
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promises_are_among_what_is_proven() {
        let targets = targets(&crate::place::root().unwrap()).unwrap();
        for promise in ["claims", "guessing", "keys", "overload", "refreshing", "restarting"] {
            assert!(targets["it"].contains(&format!("promises::{promise}::")), "{promise}: {targets:?}");
        }
    }

    #[test]
    fn a_target_of_its_own_is_run_whole() {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in
            [("fuzz/drive.rs", "if deep() {}"), ("it/a/b.rs", "Rounds::of(3)"), ("it/a.rs", "fn f() {}")]
        {
            let path = dir.path().join("tests").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let all = targets(dir.path()).unwrap();
        assert_eq!(all["fuzz"], Vec::<String>::new());
        assert_eq!(all["it"], ["a::b::"]);
    }
}
