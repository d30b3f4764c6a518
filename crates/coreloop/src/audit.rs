//! `coreloop audit` and `coreloop runs`: what administrators asked of the mesh, and what ran in it. Reads the database of ops;
//! looking over REST is itself in the audit, looking from here is not.

use anyhow::Context as _;
use coreloop_config::Settings;
use coreloop_ops::store::{
    audits::{self, Wanted},
    runs,
};
use uuid::Uuid;

use crate::verify::database;

/// Which rows of the audit.
#[derive(clap::Args)]
pub(crate) struct Search {
    /// Who: the id of an account, or `cli`.
    #[arg(long)]
    actor: Option<String>,
    /// What, as `ops.dead_letters.reprocess`.
    #[arg(long)]
    action: Option<String>,
    /// On what.
    #[arg(long)]
    subject: Option<String>,
    /// The act, which has two rows.
    #[arg(long)]
    act: Option<Uuid>,
    /// Request that asked.
    #[arg(long)]
    request: Option<String>,
    /// At most so many, the newest first.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(0..))]
    count: i64,
}

/// Which runs.
#[derive(clap::Args)]
pub(crate) struct Runs {
    /// On what, as `wallet.ledger`.
    #[arg(long)]
    subject: Option<String>,
    /// At most so many, the newest first.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(0..))]
    count: i64,
}

/// Prints rows of the audit.
///
/// # Errors
/// A database that does not answer.
pub(crate) async fn search(settings: &Settings, search: Search) -> anyhow::Result<()> {
    let db = database(settings, "ops")?;
    let Search { actor, action, subject, act, request, count } = search;
    let wanted = Wanted { actor, action, subject, act, request_id: request, ..Wanted::default() };
    for row in audits::search(&db, &wanted, None, count).await.context("the audit cannot be read")? {
        println!(
            "{:>6}  {}  {:<6}  {}  {}  by {}  {}  act {}",
            row.seq,
            row.created_at.to_jiff(),
            row.step,
            row.action,
            row.subject,
            row.actor,
            row.detail,
            row.act
        );
    }
    Ok(())
}

/// Prints runs.
///
/// # Errors
/// A database that does not answer.
pub(crate) async fn list(settings: &Settings, wanted: Runs) -> anyhow::Result<()> {
    let db = database(settings, "ops")?;
    let page = runs::page(&db, (None, wanted.subject.as_deref()), None, wanted.count).await;
    for run in page.context("the runs cannot be read")? {
        let outcome = match (run.state.as_str(), run.sound) {
            ("done", Some(true)) => "sound",
            ("done", _) => "does not fit",
            (state, _) => state,
        };
        println!(
            "{}  {}  {}  {outcome}  by {}  {}  {} {}",
            run.id,
            run.asked_at.to_jiff(),
            run.subject,
            run.asked_by,
            run.counts,
            run.findings,
            run.error
        );
    }
    Ok(())
}
