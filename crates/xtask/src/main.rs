//! `cargo xtask …`: the tasks of the project.
//!
//! A person with a Rust toolchain and nothing else runs `cargo xtask up` and has the mesh, `cargo xtask test` and has
//! every test's servers. So everything here is found, installed from Debian packages or fetched from a package registry
//! by its own client, pinned and checked; whatever is started is private to the checkout (`.coreloop/`) and stopped at
//! the end. It is a program of its own rather than scripts, because it is tested like the rest.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks to its terminal")]

mod account;
mod bench;
mod child;
mod codegen;
mod compat;
mod interrupt;
mod jars;
mod lint;
mod lock;
mod packages;
mod place;
mod postgres;
mod probe;
mod progress;
mod prove;
mod redis;
mod scaffold;
mod state;
mod test;
mod tidy;
mod tools;
mod up;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The tasks of the project", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Start the whole mesh here, with its own PostgreSQL and Redis; Ctrl-C stops it.
    Up(up::Options),
    /// Run every test on throw-away servers; a filter runs those whose name contains it.
    Test {
        /// One package instead of all.
        #[arg(long, short)]
        package: Option<String>,
        /// Passed to `cargo test`; what follows `--` goes to the test programs.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        filter: Vec<String>,
    },
    /// Check format, lints, contracts, generated files and the rules of the house.
    Lint,
    /// Check the rules of the house alone (also run by the tests).
    Tidy,
    /// Write the stubs and the descriptor set from the protos.
    Codegen {
        /// Change nothing; fail when something is not current.
        #[arg(long)]
        check: bool,
    },
    /// Write gateway/openapi.json from the descriptors.
    Openapi {
        /// Change nothing; fail when it is not current.
        #[arg(long)]
        check: bool,
    },
    /// Scaffold a service: proto, api crate, service crate, its place in the workspace and the binary.
    NewService {
        /// Name of the domain, as `wallet`.
        name: String,
    },
    /// Give a service the tables of an event store: copies them into its next migration.
    NewEvents {
        /// Domain, as `wallet`.
        domain: String,
    },
    /// Scaffold an RPC in an existing service.
    NewRpc {
        /// Domain, as `wallet`.
        domain: String,
        /// Name of the RPC, as `GetBalance`.
        rpc: String,
    },
    /// Measure against limits that run side by side (release build).
    Bench {
        /// Passed to the bench program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Kill and cut a mesh under load and find planted bugs, then run the tests of the promises with the figures of chapter 09
    /// (about two hours; `--short` ten minutes). What is chosen comes from seeds that are printed.
    Prove(prove::Options),
    /// What continuous integration runs: lint, test, then the short form of `prove`.
    Ci,
}

fn main() -> ExitCode {
    let task = Cli::parse().task;
    match run(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The outermost says what was wanted, the causes why it was not had; no backtrace, whatever RUST_BACKTRACE says.
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            eprintln!("\nxtask: {}", causes.join("\n  "));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    interrupt::watch()?;
    let root = place::root()?;
    match task {
        Task::Up(options) => up::run(&root, &options),
        Task::Test { package, filter } => test::run(&root, package.as_deref(), &filter),
        Task::Lint => lint::run(&root),
        Task::Tidy => tidy::run(&root),
        Task::Codegen { check } => codegen::run(&root, check),
        Task::Openapi { check } => lint::openapi(&root, check),
        Task::NewService { name } => scaffold::service(&root, &name),
        Task::NewEvents { domain } => scaffold::events(&root, &domain),
        Task::NewRpc { domain, rpc } => scaffold::rpc(&root, &domain, &rpc),
        Task::Bench { args } => bench::run(&root, &args),
        Task::Prove(options) => prove::run(&root, &options),
        Task::Ci => lint::run(&root)
            .and_then(|()| test::run(&root, None, &[]))
            .and_then(|()| prove::run(&root, &prove::Options::short())),
    }
}
