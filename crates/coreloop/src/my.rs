//! `coreloop my`: what histories of users came to is made anew, for operators. What it does stands in the audit of ops.

use coreloop_config::Settings;
use coreloop_core::{SystemClock, id::SystemIds};
use coreloop_my::rebuilding;
use coreloop_ops::audit::Book;
use serde_json::json;

use crate::verify;

/// What to do.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Makes footprints, streaks and badges anew from the histories, while those that are there serve.
    Rebuild,
}

/// Does it.
///
/// # Errors
/// A database that does not answer; another rebuild that runs.
pub(crate) async fn run(settings: &Settings, Command::Rebuild: Command) -> anyhow::Result<()> {
    let (db, ours) = (verify::database(settings, "my")?, verify::database(settings, "ops")?);
    let work = async {
        let rebuilt = rebuilding::rebuild(&db).await;
        rebuilt.map_err(|error| coreloop_ops::Error::from(coreloop_core::Problem::from(error)))
    };
    let book = Book { db: &ours, clock: &SystemClock, ids: &SystemIds };
    let said = |rebuilt: &rebuilding::Rebuilt| json!({ "people": rebuilt.people, "events": rebuilt.events });
    let rebuilt = book.audited(("cli".to_owned(), "my.rebuild", "people"), json!({}), work, said).await?;
    let secs = rebuilt.took.as_secs_f64().max(0.001);
    let rate = f64::from(u32::try_from(rebuilt.events).unwrap_or(u32::MAX)) / secs;
    println!("{} people of {} events in {secs:.1} s ({rate:.0} a second)", rebuilt.people, rebuilt.events);
    Ok(())
}
