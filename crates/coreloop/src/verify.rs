//! `coreloop verify`: recomputes what must hold.

use anyhow::Context as _;
use coreloop_config::Settings;

/// What to look at.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// The wallet: sums, accounts, and the chain of every account's entries. Exit code 1 when something does not fit.
    Ledger,
}

/// Looks at it.
///
/// # Errors
/// A database that does not answer; something that does not fit.
pub(crate) async fn run(settings: &Settings, command: &Command) -> anyhow::Result<()> {
    let Command::Ledger = command;
    let options: coreloop_db::Options = settings.section("database").read()?;
    anyhow::ensure!(options.url.is_some(), "database.url is not set");
    let db = coreloop_db::connect(&options, "wallet").context("setting database.url")?;
    let report = coreloop_wallet::integrity::verify(&db).await.context("the ledger cannot be read")?;
    for finding in &report.findings {
        println!("{finding}");
    }
    println!(
        "{} accounts, {} entries: {}",
        report.accounts,
        report.entries,
        if report.sound() { "the books balance" } else { "the books do not fit" }
    );
    anyhow::ensure!(report.sound(), "{} findings", report.findings.len());
    Ok(())
}
