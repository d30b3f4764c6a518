//! `coreloop ledger`: the lines of a user's accounts, to see what a purchase has moved.

use anyhow::Context as _;
use coreloop_config::Settings;
use coreloop_wallet_api::v1::Currency;
use uuid::Uuid;

use crate::verify::database;

/// Whose lines, and which.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The user.
    user: Uuid,
    /// Only those of this reference, as the id of an order.
    #[arg(long)]
    reference: Option<String>,
    /// At most so many, the newest.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(0..))]
    count: i64,
}

/// Prints them, the oldest first.
///
/// # Errors
/// A database that does not answer.
pub(crate) async fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<()> {
    let db = database(settings, "wallet")?;
    let reference = arguments.reference.as_deref();
    let lines = coreloop_wallet::store::postings::lines(&db, arguments.user, reference, arguments.count);
    for line in lines.await.context("the ledger cannot be read")? {
        let currency = Currency::try_from(i32::from(line.currency)).unwrap_or_default().as_str_name();
        println!(
            "{}  {:<5} {:>4}  {:>+12} = {:<12}  {}  {}  by {}  posting {}",
            line.posted_at.to_jiff(),
            currency.trim_start_matches("CURRENCY_"),
            line.seq,
            line.delta,
            line.balance_after,
            line.reason,
            line.reference,
            line.actor,
            line.posting,
        );
    }
    Ok(())
}
