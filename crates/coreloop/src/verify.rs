//! `coreloop verify`: recomputes what must hold. Works on the databases, so it works while no service runs; the same is
//! asked for over REST by `POST /admin/maintenance/integrity-check`.

use std::sync::Arc;

use anyhow::Context as _;
use coreloop_config::Settings;
use coreloop_core::Problem;
use coreloop_ops_api::integrity::Report;

/// What to look at. Exit code 1 when something does not fit.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// The wallet: sums, accounts, and the chain of every account's entries.
    Ledger,
    /// The audit of administrators: its places, its chain, and the ends that earlier checks saw.
    Audit,
    /// Purchases: what they took, what their items did, what the wallet moved for them.
    Shop,
    /// Grants and redemptions: what the wallet moved for them, and what campaigns have given.
    Rewards,
    /// Images: each and its history.
    Image,
    /// Scans: each task and its history, and what is counted of them.
    Scan,
    /// Collections of characters: their histories, snapshots and tables.
    Character,
    /// What users have come to: their histories and tables.
    My,
    /// What people were told: each notification and its history.
    Notification,
    /// All of them.
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
    if matches!(command, Command::Shop | Command::All) {
        let (db, books) = (database(settings, "shop")?, books(settings, "shop")?);
        let report = coreloop_shop::integrity::verify(&db, &books).await.context("purchases cannot be read")?;
        findings += print("shop.purchases", report);
    }
    if matches!(command, Command::Rewards | Command::All) {
        let (db, books) = (database(settings, "rewards")?, books(settings, "rewards")?);
        let report = coreloop_rewards::integrity::verify(&db, &books).await.context("rewards cannot be read")?;
        findings += print("rewards.ended", report);
    }
    if matches!(command, Command::Image | Command::All) {
        let db = database(settings, "image")?;
        let report = coreloop_image::integrity::verify(&db).await.context("images cannot be read")?;
        findings += print("image.images", report);
    }
    if matches!(command, Command::Scan | Command::All) {
        let db = database(settings, "scan")?;
        let report = coreloop_scan::integrity::verify(&db).await.context("scans cannot be read")?;
        findings += print("scan.tasks", report);
    }
    if matches!(command, Command::Character | Command::All) {
        let db = database(settings, "character")?;
        let report = coreloop_character::integrity::verify(&db).await.context("collections cannot be read")?;
        findings += print("character.collections", report);
    }
    if matches!(command, Command::My | Command::All) {
        let db = database(settings, "my")?;
        let report = coreloop_my::integrity::verify(&db).await.context("what users have come to cannot be read")?;
        findings += print("my.people", report);
    }
    if matches!(command, Command::Notification | Command::All) {
        let db = database(settings, "notification")?;
        let report = coreloop_notification::integrity::verify(&db).await.context("notifications cannot be read")?;
        findings += print("notification.inbox", report);
    }
    anyhow::ensure!(findings == 0, "{findings} findings");
    Ok(())
}

/// What a service has posted at the wallet.
fn books(settings: &Settings, service: &'static str) -> anyhow::Result<coreloop_shop::integrity::Books> {
    let db = database(settings, "wallet")?;
    Ok(Arc::new(move |keys| {
        let db = db.clone();
        Box::pin(async move {
            let found = coreloop_wallet::grpc::find::found(&db, service, keys).await;
            found.map_err(Problem::internal)
        })
    }))
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
