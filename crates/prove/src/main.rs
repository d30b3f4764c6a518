//! `cargo xtask prove`: kills and cuts a real mesh under load, then reads the databases.
//!
//! What runs is what is shipped: `coreloop serve` processes, two replicas of the wallet, over a Postgres and a Redis of their
//! own, with a proxy on every way between them; in a third of the runs Kafka carries the events and RabbitMQ the commands
//! (`carried.rs`). Clients ask under keys and keep a journal (`journal.rs`, `load.rs`); from a seed
//! processes are killed and frozen and ways are cut (`chaos.rs`); a consumer in two replicas gives every event an effect
//! (`witness.rs`). When all is quiet the checker reads what is there (`check.rs`) and compares. The same harness, a few seconds
//! each, must find every bug of `crates/planted` (`bugs.rs`): a proof that cannot fail is none. The eco app has runs of its own, in which
//! people send photos and listen to their sockets (`story.rs`).
//!
//! Run it with `cargo xtask prove`, which builds and starts what it needs. `docs/testing.md` says how to read it.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a tool that tests: what cannot be arranged ends it with its reason"
)]

mod ask;
mod bugs;
mod carried;
mod chaos;
mod check;
mod journal;
mod load;
mod market;
mod mix;
mod postgres;
mod report;
mod run;
mod service;
mod story;
mod witness;
mod world;

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use clap::Parser;
use coreloop_planted::Bug;

use crate::{
    carried::Over,
    load::part_of,
    mix::everything,
    report::Report,
    run::Plan,
    world::{Build, Ground},
};

/// Kills between two looks of the checker. A broker that lost its data is told all of a run again, so a run is no longer.
const LEG: u32 = 25;

#[derive(Parser)]
#[command(about = "Kills and cuts a real mesh under load, then reads the databases.")]
enum Command {
    /// Proves; started by `cargo xtask prove`.
    Run(Arguments),
    /// A consumer of the mesh; started by the proof.
    Witness(witness::Arguments),
}

/// What is proven, and with what.
#[derive(Debug, clap::Args)]
struct Arguments {
    /// The `coreloop` that is proven.
    #[arg(long)]
    product: PathBuf,
    /// A `coreloop` that can have bugs; this program is of the same build then.
    #[arg(long)]
    planted_product: Option<PathBuf>,
    /// How Postgres is started on a cluster that is made: program and arguments, as JSON.
    #[arg(long)]
    postgres_command: String,
    /// Its superuser's address.
    #[arg(long)]
    postgres_url: String,
    /// Folder for journals, logs and settings.
    #[arg(long)]
    folder: PathBuf,
    /// What all decisions come from.
    #[arg(long)]
    seed: u64,
    /// Kills.
    #[arg(long)]
    kills: u32,
    /// Only in runs over this.
    #[arg(long)]
    over: Option<Over>,
    /// Photos whose story is told under kills.
    #[arg(long, default_value_t = 0)]
    stories: u32,
    /// Only these bugs; `none` for none.
    #[arg(long, value_delimiter = ',')]
    bugs: Vec<String>,
}

fn main() -> Result<()> {
    let command = Command::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match command {
        Command::Run(arguments) => runtime.block_on(prove(&arguments)),
        Command::Witness(arguments) => runtime.block_on(witness::run(&arguments)),
    }
}

async fn prove(arguments: &Arguments) -> Result<()> {
    println!("seed {}", arguments.seed);
    std::fs::create_dir_all(&arguments.folder)?;
    let build = Build { product: arguments.product.clone(), prove: std::env::current_exe()? };
    let command: Vec<String> = serde_json::from_str(&arguments.postgres_command)?;
    let mut ground = Ground::lay(command, arguments.postgres_url.clone(), &build, &arguments.folder).await?;
    let mut report = Report::default();
    let (redis, brokers) = stories(arguments.stories, arguments.over);
    tell(&mut ground, &build, &mut report, (Over::Redis, redis, arguments.seed)).await?;
    for (leg, (over, kills)) in (0_u32..).zip(legs(arguments.kills, arguments.over)) {
        let seed = part_of(arguments.seed, u64::from(leg));
        let plan = Plan {
            name: format!("leg-{leg}"),
            over,
            seed,
            mix: everything(),
            // The last falls into the quiet.
            blows: chaos::plan(part_of(seed, 3), kills - 1, over),
            bug: None,
            end: run::End::KillUnread,
            patience: patience(over),
        };
        report.leg(&run::run(&mut ground, &build, &plan).await?);
    }
    tell(&mut ground, &build, &mut report, (Over::Brokers, brokers, arguments.seed)).await?;
    if let Some(product) = &arguments.planted_product {
        let build = Build { product: product.clone(), ..build };
        for bug in chosen(&arguments.bugs)? {
            for attempt in 1..=bugs::ATTEMPTS {
                let seed = part_of(arguments.seed, 1_000 * u64::from(attempt) + bug as u64);
                // A mesh that stops answering is noticed as well.
                let outcome = match bugs::of_eco(bug, seed, attempt) {
                    Some(plan) => story::run(&mut ground, &build, &plan).await,
                    None => run::run(&mut ground, &build, &bugs::plan(bug, seed, attempt)).await,
                };
                if report.bug(bug, outcome, attempt) {
                    break;
                }
            }
        }
    }
    report.end()
}

/// Tells the stories of so many photos, with a kill for every eighth of a short run and every tenth of a long one.
async fn tell(
    ground: &mut Ground,
    build: &Build,
    report: &mut Report,
    (over, photos, seed): (Over, u32, u64),
) -> Result<()> {
    if photos == 0 {
        return Ok(());
    }
    let seed = part_of(seed, if over == Over::Redis { 11 } else { 12 });
    let plan = story::Plan {
        name: format!("story-{}", if over == Over::Redis { "redis" } else { "brokers" }),
        over,
        seed,
        people: story::people(photos),
        blows: story::blows(part_of(seed, 3), photos / if photos < 100 { 8 } else { 10 }, over),
        bug: None,
        tell_again: over == Over::Redis,
        as_others: over == Over::Redis,
        patience: patience(over),
    };
    report.story(&story::run(ground, build, &plan).await?);
    Ok(())
}

/// Photos whose story is told over each: a third of many over the brokers that keep what they have.
fn stories(photos: u32, only: Option<Over>) -> (u32, u32) {
    match only {
        Some(Over::Redis) => (photos, 0),
        Some(Over::Brokers) => (0, photos),
        None if photos < 100 => (photos, 0),
        None => (photos - photos / 3, photos / 3),
    }
}

/// Runs with their kills: a third of all over the brokers that keep what they have, after those over Redis.
fn legs(kills: u32, only: Option<Over>) -> Vec<(Over, u32)> {
    let brokers = match only {
        None => kills / 3,
        Some(Over::Redis) => 0,
        Some(Over::Brokers) => kills,
    };
    let of = |over, kills: u32| (0..kills).step_by(LEG as usize).map(move |done| (over, LEG.min(kills - done)));
    of(Over::Redis, kills - brokers).chain(of(Over::Brokers, brokers)).collect()
}

/// Longest wait for a sign of work: whoever stood still is replaced within half a minute, and two of them may follow each other.
fn patience(over: Over) -> Duration {
    Duration::from_secs(if over == Over::Redis { 45 } else { 180 })
}

fn chosen(names: &[String]) -> Result<Vec<Bug>> {
    if names.is_empty() {
        return Ok(in_order(coreloop_planted::ALL.iter().map(|(bug, ..)| *bug).collect()));
    }
    let bugs = names.iter().filter(|name| *name != "none").map(|name| name.parse());
    bugs.collect::<Result<_, String>>().map(in_order).or_else(|error| bail!("{error}"))
}

/// Those over the brokers first: these run, for the kills before were over them too.
fn in_order(mut bugs: Vec<Bug>) -> Vec<Bug> {
    bugs.sort_by_key(|bug| bugs::over(*bug) != Over::Brokers);
    bugs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_the_kills_fall_over_the_brokers() {
        use Over::{Brokers, Redis};
        assert_eq!(legs(25, None), [(Redis, 17), (Brokers, 8)]);
        assert_eq!(legs(81, None), [(Redis, 25), (Redis, 25), (Redis, 4), (Brokers, 25), (Brokers, 2)]);
        assert_eq!(legs(3, Some(Brokers)), [(Brokers, 3)]);
        assert_eq!(legs(0, None), []);
    }

    #[test]
    fn a_third_of_many_stories_is_told_over_the_brokers() {
        assert_eq!(stories(60, None), (60, 0));
        assert_eq!(stories(1_000, None), (667, 333));
        assert_eq!(stories(60, Some(Over::Brokers)), (0, 60));
    }
}
