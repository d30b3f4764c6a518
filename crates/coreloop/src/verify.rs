//! `coreloop verify`: recomputes what must hold. Works on the databases, so it works while no service runs; the same is
//! asked for over REST by `POST /admin/maintenance/integrity-check`.

use anyhow::Context as _;
use coreloop_config::Settings;
use coreloop_ops_api::integrity::Report;

/// What to look at. Exit code 1 when something does not fit.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// The wallet: sums, accounts, and the chain of every account's entries.
    Ledger,
    /// The audit of administrators: its places, its chain, and the ends that earlier checks saw.
    Audit,
    /// Both.
    All,
}

/// Looks at it.
///
/// # Errors
/// A database that does not answer; something that does not fit.
pub(crate) async fn run(settings: &Settings, command: &Command) -> anyhow::Result<()> {
    let mut findings = 0;
    if matches!(command, Command::Ledger | Command::All) {
        let db = database(settings, "wallet")?;
        let report = coreloop_wallet::integrity::verify(&db).await.context("the ledger cannot be read")?;
        findings += print("wallet.ledger", report.into());
    }
    if matches!(command, Command::Audit | Command::All) {
        let db = database(settings, "ops")?;
        let seen = coreloop_ops::integrity::verify(&db).await.context("the audit cannot be read")?;
        findings += print("ops.audit", seen.report);
    }
    anyhow::ensure!(findings == 0, "{findings} findings");
    Ok(())
}

/// The database of a service, in its own role.
///
/// # Errors
/// Wrong settings.
pub(crate) fn database(settings: &Settings, service: &str) -> anyhow::Result<sqlx::PgPool> {
    let options: coreloop_db::Options = settings.section("database").read()?;
    anyhow::ensure!(options.url.is_some(), "database.url is not set");
    coreloop_db::connect(&options, service).context("setting database.url")
}

fn print(check: &str, report: Report) -> usize {
    for finding in &report.findings {
        println!("{check}: {}, {}: {}", finding.what, finding.subject, finding.detail);
    }
    let counts: Vec<String> = report.counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let outcome = if report.findings.is_empty() { "sound" } else { "does not fit" };
    println!("{check}: {}: {outcome}", counts.join(", "));
    report.findings.len()
}
