//! Measures the rows of chapter 10 as ratios to limits that run in turn with them, in one process run on one machine.
//!
//! Run it with `cargo xtask bench`, which starts Postgres (fsync on) and Redis and fetches Envoy. What matters is CPU per
//! request of the processes that do the work, in medians of rounds: steadier than requests a second where other work runs
//! beside. A row that could not be measured is an error, never an empty cell, and so is one whose set-up did not do what it
//! says: a message that did not come, a cache that was asked for and not hit, a reader that was to be stuck and was not.
//!
//! Rows of chapter 10 go by their numbers. Three of the eco app go by names, for they are times that a user is promised and not
//! ratios: `story`, `nearby` and `history`. P17 opens ten thousand sockets from two processes and says so where `ulimit -n` is too low.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    reason = "a tool: it prints its table, counts in floats, and times with the machine's own clock"
)]

mod carried;
mod check;
mod child;
mod cpu;
mod edge;
mod empty;
mod events;
mod fanout;
mod footprint;
mod front;
mod history;
mod idle;
mod line;
mod load;
mod memory;
mod money;
mod nearby;
mod pace;
mod report;
mod revoke;
mod sockets;
mod story;
mod tokens;
mod whole;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// As the product has it: every part, the limits beside it too, allocates alike.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Measures the rows of chapter 10.")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Sub>,
    /// Rounds of each measurement, after one that warms up; the table shows medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these rows, as `P1,P6,story`.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
}

#[derive(Subcommand)]
enum Sub {
    /// A part that must be a process of its own; started by the bench itself.
    #[command(hide = true)]
    Child { role: String, arguments: Vec<String> },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.command {
        Some(Sub::Child { role, arguments }) => runtime.block_on(child(&role, &arguments)),
        None => runtime.block_on(measure(&arguments)),
    }
}

async fn child(role: &str, arguments: &[String]) -> Result<()> {
    let peer = arguments.first().map(String::as_str).unwrap_or_default();
    match role {
        "backend" => println!("{}", front::backend().await?),
        "by-hand" => println!("{}", front::by_hand(peer).await?),
        "edge" => {
            let (_running, address) = front::edge(peer).await?;
            println!("{address}");
            return std::future::pending().await;
        }
        "mesh" => {
            let (_mesh, at) = whole::start().await?;
            println!("{}", serde_json::to_string(&at)?);
            return std::future::pending().await;
        }
        "money" | "nearby" | "sockets" | "story" => {
            let (_mesh, at) = match role {
                "money" => money::start().await?,
                "nearby" => nearby::start().await?,
                "sockets" => sockets::start(peer).await?,
                _ => story::start().await?,
            };
            println!("{at}");
            return std::future::pending().await;
        }
        "bare-http" => println!("{}", nearby::bare(peer).await?),
        "bare-writes" => println!("{}", fanout::bare().await?),
        "remember" => {
            println!("{}", memory::remember().await?);
            return Ok(());
        }
        "revocations" => {
            println!("{}", memory::revocations()?);
            return Ok(());
        }
        other => anyhow::bail!("no part is called {other}"),
    }
    std::future::pending().await
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let wanted = |row: &str| arguments.rows.is_empty() || arguments.rows.iter().any(|asked| asked == row);
    let rounds = arguments.rounds.max(1);
    let mut rows = Vec::new();
    let mut add = |new: Vec<report::Row>| {
        for row in &new {
            println!("{} {}: {} (aim {}) {}", row.id, row.what, row.measured, row.aim, row.detail);
        }
        rows.extend(new);
    };
    if wanted("P1") {
        add(vec![check::known(1_000, rounds).await?]);
        add(vec![check::known(1_000_000, rounds).await?]);
    }
    if wanted("P2") {
        add(vec![check::first(rounds).await?]);
    }
    if wanted("P5") {
        let redis = coreloop_testkit::TestRedis::start().await;
        add(vec![revoke::revoke(&redis.url()).await?]);
    }
    if wanted("P6") {
        add(edge::rows(rounds, &coreloop_testkit::surroundings::envoy_binary()).await?);
    }
    if wanted("P7") {
        add(vec![whole::read_path(rounds).await?]);
    }
    if ["P8", "P9", "P10", "P11", "P13", "P19"].into_iter().any(wanted) {
        add(money::rows(rounds, &wanted).await?);
    }
    if wanted("P15") {
        add(events::rows(rounds).await?);
        add(carried::rows(rounds).await?);
    }
    if wanted("P16") {
        add(fanout::rows(rounds).await?);
    }
    if wanted("P17") {
        add(idle::rows().await?);
    }
    if wanted("P18") {
        use coreloop_testkit::surroundings::{database_url, redis_url};
        add(footprint::rows(rounds, &database_url(), &redis_url())?);
    }
    if wanted("P20") {
        add(memory::rows()?);
    }
    if wanted("P21") {
        add(whole::sign_in(rounds).await?);
    }
    promised(rounds, &wanted, &mut add).await?;
    println!("\n{}", report::table(&rows));
    Ok(())
}

/// Rows that are times and rates which the eco app promises.
async fn promised(rounds: usize, wanted: &impl Fn(&str) -> bool, add: &mut impl FnMut(Vec<report::Row>)) -> Result<()> {
    if wanted("story") {
        add(story::rows().await?);
    }
    if wanted("nearby") {
        add(nearby::rows(rounds).await?);
    }
    if wanted("history") {
        add(history::rows(rounds).await?);
    }
    Ok(())
}
