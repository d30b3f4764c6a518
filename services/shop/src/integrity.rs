//! Recomputes what must hold of purchases: what they took is what is taken, an item did what it does once, and the wallet has
//! moved for each what it says, and no more.
//!
//! What is counted is one statement, so it is of one moment. What the wallet moved is looked at for purchases that are over, and
//! nothing moves for those, but that a payment is charged back: so what does not fit is said of a row that is the same afterwards.

use std::{collections::HashMap, sync::Arc};

use coreloop_core::Problem;
use coreloop_db::begin;
use coreloop_ops_api::integrity::{Finding, MOST, Report};
use coreloop_shop_api::v1::{Category, PurchaseState};
use coreloop_wallet_api::v1::{Currency, KeyedPosting};
use futures::future::BoxFuture;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    App, Error,
    purchase::Purchase,
    store::{
        integrity::{self as store, Effects},
        purchases::by_ids,
    },
    wallet::claw_keys,
};

/// Purchases of one page; the wallet answers a thousand keys at once.
const PAGE: i64 = 250;
/// Looks at rows that change while the wallet is asked; what changes still is looked at the next time.
const LOOKS: usize = 3;
/// Longest time of the statement that counts.
const MINUTES: u32 = 60;

/// What the shop has posted at the wallet under keys.
pub type Books = Arc<dyn Fn(Vec<String>) -> BoxFuture<'static, Result<Vec<KeyedPosting>, Problem>> + Send + Sync>;

/// Looks at everything, asking the wallet.
///
/// # Errors
/// When the database or the wallet fails.
pub async fn checked(app: &App) -> Result<Report, Error> {
    let wallet = app.wallet.clone();
    let books: Books = Arc::new(move |keys| {
        let wallet = wallet.clone();
        Box::pin(async move { Ok(wallet.posted(keys).await?) })
    });
    let report = verify(&app.db, &books).await?;
    for finding in &report.findings {
        tracing::error!(
            what = finding.what,
            subject = finding.subject,
            detail = finding.detail,
            "purchases do not fit"
        );
    }
    Ok(report)
}

/// Looks at everything.
///
/// # Errors
/// When the database or the books fail.
pub async fn verify(db: &PgPool, books: &Books) -> Result<Report, Error> {
    let mut tx = begin(db).await?;
    store::take_time(&mut tx, MINUTES).await?;
    let mut findings = store::sums(&mut *tx).await?;
    tx.rollback().await?;
    let (mut after, mut purchases, mut postings) = (Uuid::nil(), 0, 0);
    loop {
        let page = store::over(db, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        purchases += count(page.len());
        let (amiss, found) = amiss(db, books, &page).await?;
        postings += found;
        findings.extend(lasting(db, books, page, amiss).await?);
        if findings.len() >= MOST {
            break;
        }
    }
    Ok(Report { counts: vec![("purchases", purchases), ("postings", postings)], findings })
}

/// What does not fit of purchases, by each, and in how many postings GOLD moved for them.
async fn amiss(db: &PgPool, books: &Books, page: &[Purchase]) -> Result<(HashMap<Uuid, Vec<Finding>>, i64), Error> {
    let ids: Vec<Uuid> = page.iter().map(|purchase| purchase.id).collect();
    let effects = store::effects(db, &ids).await?;
    let moved = moved(books, page).await?;
    let mut amiss: HashMap<Uuid, Vec<Finding>> = HashMap::new();
    for purchase in page {
        let found = [effect(purchase, &effects), ledger(purchase, &moved)].into_iter().flatten();
        for finding in found {
            amiss.entry(purchase.id).or_default().push(finding);
        }
    }
    Ok((amiss, moved.values().map(|(_, postings)| postings).sum()))
}

/// Of what does not fit, that of purchases which are as they were when the wallet was asked; the others are looked at again.
async fn lasting(
    db: &PgPool,
    books: &Books,
    mut page: Vec<Purchase>,
    mut found: HashMap<Uuid, Vec<Finding>>,
) -> Result<Vec<Finding>, Error> {
    let mut lasting = Vec::new();
    for _ in 0..LOOKS {
        let ids: Vec<Uuid> = found.keys().copied().collect();
        if ids.is_empty() {
            break;
        }
        let now = by_ids(db, &ids).await?;
        let seen = |id: Uuid| page.iter().find(|purchase| purchase.id == id);
        let same = |now: &Purchase| {
            let what = |row: &Purchase| (row.state, row.tries, row.closed_at);
            seen(now.id).is_some_and(|before| what(before) == what(now))
        };
        let (same, changed): (Vec<_>, Vec<_>) = now.into_iter().partition(same);
        lasting.extend(same.iter().filter_map(|purchase| found.remove(&purchase.id)).flatten());
        page = changed.into_iter().filter(Purchase::is_over).collect();
        if page.is_empty() {
            break;
        }
        (found, _) = amiss(db, books, &page).await?;
    }
    Ok(lasting)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Keys under which something may have moved for a purchase.
fn keys(purchase: &Purchase) -> Vec<String> {
    let names: &[&str] = match purchase.category() {
        Category::Conversion => &["give", "back"],
        _ => &["charge"],
    };
    let claws = purchase.claw.map(|amount| claw_keys(purchase.id, amount));
    names.iter().map(|name| format!("{name}:{}", purchase.id)).chain(claws.into_iter().flatten()).collect()
}

/// GOLD that moved for each, and in how many postings.
async fn moved(books: &Books, page: &[Purchase]) -> Result<HashMap<Uuid, (i64, i64)>, Error> {
    let mut of = HashMap::new();
    for purchase in page {
        of.extend(keys(purchase).into_iter().map(|key| (key, (purchase.id, purchase.user.to_string()))));
    }
    let found = books(of.keys().cloned().collect()).await?;
    let mut moved: HashMap<Uuid, (i64, i64)> = HashMap::new();
    for KeyedPosting { idempotency_key, posting } in found {
        if let (Some((purchase, user)), Some(posting)) = (of.get(&idempotency_key), posting) {
            let (gold, postings) = moved.entry(*purchase).or_default();
            *gold += posting.delta_of(user, Currency::Gold);
            *postings += 1;
        }
    }
    Ok(moved)
}

fn finding(what: &str, purchase: &Purchase, detail: String) -> Finding {
    Finding { what: what.to_owned(), subject: purchase.id.to_string(), detail }
}

/// What a confirmed item does was done, and nothing else.
fn effect(purchase: &Purchase, effects: &Effects) -> Option<Finding> {
    let done = effects.get(&purchase.id);
    let due = purchase.effect().filter(|_| purchase.state == PurchaseState::Confirmed);
    if done == due {
        return None;
    }
    let word = |effect: Option<&coreloop_shop_api::v1::Effect>| {
        effect.map_or_else(
            || "nothing".to_owned(),
            |it| format!("{} of {} for {} s", it.amount, it.code, it.duration_secs),
        )
    };
    Some(finding("effect", purchase, format!("it did {}, and should have done {}", word(done), word(due))))
}

/// The wallet has moved what the purchase says.
fn ledger(purchase: &Purchase, moved: &HashMap<Uuid, (i64, i64)>) -> Option<Finding> {
    let due = match (purchase.category(), purchase.state) {
        (Category::Conversion, PurchaseState::Confirmed) => purchase.gold.saturating_add(purchase.bonus),
        (Category::Conversion, _) => purchase.owed,
        (_, PurchaseState::Confirmed) => -purchase.price,
        _ => 0,
    };
    let (gold, postings) = moved.get(&purchase.id).copied().unwrap_or_default();
    // What failed has moved nothing, not even there and back, unless it was given first.
    let idle = purchase.state == PurchaseState::Failed && !purchase.granting;
    if gold == due && !(idle && postings > 0) {
        return None;
    }
    let state = purchase.word();
    Some(finding("ledger", purchase, format!("{state}: {gold} GOLD moved in {postings} postings, and should be {due}")))
}
