//! Recomputes what must hold of grants and redemptions: the wallet has moved for each what it says, and no more; a campaign
//! has given what it says.
//!
//! Only what has come to an end is looked at: nothing moves for it any more.

use std::{collections::HashMap, sync::Arc};

use coreloop_core::Problem;
use coreloop_ops_api::integrity::{Finding, MOST, Report};
use coreloop_wallet_api::v1::{Currency, KeyedPosting};
use futures::future::BoxFuture;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    App, Error,
    store::integrity::{self as store, Ended},
};

/// Rows of one page.
const PAGE: i64 = 250;

/// What this service has posted at the wallet under keys.
pub type Books = Arc<dyn Fn(Vec<String>) -> BoxFuture<'static, Result<Vec<KeyedPosting>, Problem>> + Send + Sync>;

/// Looks at everything, asking the wallet.
///
/// # Errors
/// When the database or the wallet fails.
pub async fn checked(app: &App) -> Result<Report, Error> {
    let bank = app.bank.clone();
    let books: Books = Arc::new(move |keys| {
        let bank = bank.clone();
        Box::pin(async move { bank.posted(keys).await })
    });
    let report = verify(&app.db, &books).await?;
    for finding in &report.findings {
        tracing::error!(what = finding.what, subject = finding.subject, detail = finding.detail, "rewards do not fit");
    }
    Ok(report)
}

/// Looks at everything.
///
/// # Errors
/// When the database or the books fail.
pub async fn verify(db: &PgPool, books: &Books) -> Result<Report, Error> {
    let mut findings = store::campaigns(db).await?;
    let (mut after, mut redemptions) = (Uuid::nil(), 0);
    while findings.len() < MOST {
        let page = store::redemptions(db, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        redemptions += count(page.len());
        look(books, "redemption", &["redeem", "refund"], &page, &mut findings).await?;
    }
    let (mut after, mut grants) = (Uuid::nil(), 0);
    while findings.len() < MOST {
        let page = store::grants(db, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        grants += count(page.len());
        look(books, "grant", &["grant"], &page, &mut findings).await?;
    }
    Ok(Report { counts: vec![("redemptions", redemptions), ("grants", grants)], findings })
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Holds what has ended against what was posted under its keys.
async fn look(
    books: &Books,
    what: &str,
    acts: &[&str],
    page: &[Ended],
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let key = |act: &str, ended: &Ended| format!("rewards.{act}:{}", ended.id);
    let keys = page.iter().flat_map(|ended| acts.iter().map(move |act| key(act, ended))).collect();
    let found = books(keys).await?;
    let posted: HashMap<_, _> =
        found.into_iter().filter_map(|keyed| Some((keyed.idempotency_key, keyed.posting?))).collect();
    for ended in page {
        let user = ended.user_id.to_string();
        let currency = Currency::try_from(i32::from(ended.currency)).unwrap_or_default();
        let postings: Vec<_> = acts.iter().filter_map(|act| posted.get(&key(act, ended))).collect();
        let moved: i64 = postings.iter().map(|posting| posting.delta_of(&user, currency)).sum();
        let names: Vec<&str> = postings.iter().map(|posting| posting.posting_id.as_str()).collect();
        let known =
            [ended.first, ended.second].into_iter().flatten().all(|id| names.contains(&id.to_string().as_str()));
        if moved != ended.due || !known {
            let due = ended.due;
            let detail = format!(
                "{moved} moved in {} postings, and should be {due}; those it names are there: {known}",
                names.len()
            );
            findings.push(Finding { what: what.to_owned(), subject: ended.id.to_string(), detail });
        }
    }
    Ok(())
}
