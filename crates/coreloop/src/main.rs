//! The coreloop binary: every module in one process, or the chosen ones, and the tools of operators.
//!
//! `serve` starts modules; everything else looks at the descriptors, the settings or the databases and ends. Results go to
//! standard output, the log to standard error. Exit codes: 0 done, 1 failed, 2 wrong settings or arguments.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program talks through its streams")]

mod access;
mod admin;
mod audit;
mod brokers;
mod character;
mod config;
mod demo;
mod dlq;
mod edge;
mod events;
mod keys;
mod ledger;
mod migrate;
mod modules;
mod my;
mod routes;
mod sandbox;
mod serve;
mod sites;
mod tool;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use coreloop_config::{Errors, Settings};

/// A request makes a hundred small allocations; this allocator takes half the time of the C library's for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    name = "coreloop",
    version,
    about = "A gRPC service mesh for apps built on one loop: act, verify, reward, show."
)]
struct Arguments {
    /// Settings file, laid over the defaults; may be given again. The environment (CORELOOP_…) wins over files.
    #[arg(long, global = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves modules in one process: `all`, or names as `auth edge` (`gateway` is another name of `edge`).
    Serve(serve::Arguments),
    /// Makes roles, schemas and tables of every service.
    Migrate,
    /// Puts the seed of local mode in: demo accounts, an administrator, an invite code.
    Seed,
    /// Lists every RPC with its REST paths, access and limits.
    Routes(routes::Arguments),
    /// Decisions on access.
    #[command(subcommand)]
    Access(access::Command),
    /// Signing keys.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Administrators.
    #[command(subcommand)]
    Admin(admin::Command),
    /// What must hold, recomputed.
    #[command(subcommand)]
    Verify(verify::Command),
    /// The lines of a user's accounts, of one purchase or of all.
    Ledger(ledger::Arguments),
    /// What administrators asked of the mesh.
    Audit(audit::Search),
    /// What ran in the mesh: integrity checks and what they found.
    Runs(audit::Runs),
    /// Dead letters: events that could not be handled.
    #[command(subcommand)]
    Dlq(dlq::Command),
    /// What travels between the services.
    #[command(subcommand)]
    Events(events::Command),
    /// What Redis has of characters.
    #[command(subcommand)]
    Character(character::Command),
    /// Places where things are taken back.
    #[command(subcommand)]
    Sites(sites::Command),
    /// Stories of the product, lived against a running mesh.
    #[command(subcommand)]
    Demo(demo::Command),
    /// What users have come to.
    #[command(subcommand)]
    My(my::Command),
    /// Settings.
    #[command(subcommand)]
    Config(config::Command),
    /// Prints the OpenAPI document of the REST edge.
    Openapi,
    /// Prints the configuration of an Envoy in front of this mesh.
    EnvoyConfig(edge::Arguments),
    /// Serves stand-ins for third parties on the internet; local mode only.
    Sandbox(sandbox::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            eprintln!("coreloop: {}", chain.join(": "));
            ExitCode::from(if wrong_settings(&error) { 2 } else { 1 })
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let settings = || Settings::load(&arguments.config);
    runtime.block_on(async {
        match arguments.command {
            Command::Serve(arguments) => serve::run(settings()?, &arguments).await,
            Command::Migrate => migrate::migrate(&settings()?).await,
            Command::Seed => migrate::seed(&settings()?).await,
            Command::Routes(arguments) => routes::run(&arguments),
            Command::Access(command) => access::run(&settings()?, &command).await,
            Command::Keys(command) => keys::run(&settings()?, &command).await,
            Command::Admin(command) => admin::run(&settings()?, command).await,
            Command::Verify(command) => verify::run(&settings()?, &command).await,
            Command::Ledger(arguments) => ledger::run(&settings()?, &arguments).await,
            Command::Audit(wanted) => audit::search(&settings()?, wanted).await,
            Command::Runs(wanted) => audit::list(&settings()?, wanted).await,
            Command::Dlq(command) => dlq::run(&settings()?, command).await,
            Command::Events(command) => events::run(&settings()?, command).await,
            Command::Character(command) => character::run(&settings()?, command).await,
            Command::Sites(command) => sites::run(&settings()?, command).await,
            Command::Demo(command) => demo::run(&settings()?, !arguments.config.is_empty(), command).await,
            Command::My(command) => my::run(&settings()?, command).await,
            Command::Config(command) => config::run(&settings()?, &command),
            Command::Openapi => edge::openapi(),
            Command::EnvoyConfig(arguments) => edge::envoy(&settings()?, &arguments),
            Command::Sandbox(arguments) => sandbox::run(&settings()?, &arguments).await,
        }
    })
}

fn wrong_settings(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<Errors>()
            || matches!(
                cause.downcast_ref::<coreloop_server::StartError>(),
                Some(coreloop_server::StartError::Settings(_))
            )
    })
}
