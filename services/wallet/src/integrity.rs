//! Recomputes the books: sums, funds, and the chain of every account's entries.
//!
//! Each look is one statement, so it sees one moment whatever is posted meanwhile; an account is read first and then its
//! entries up to the one that it named, which never change. What a statement counts is not believed because another
//! constraint says so: the constraints are what is looked after here.

use coreloop_db::{Transaction, begin};
use futures::TryStreamExt as _;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Error,
    books::REFUSED,
    chain,
    order::{Currency, Key},
    store::integrity::{self as store, Head, Row},
};

/// Most findings that are told.
pub const MOST: usize = 100;

/// Accounts of one page.
const PAGE: i64 = 500;

/// Longest time of one statement.
const MINUTES: u32 = 60;

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What, in a word.
    pub what: &'static str,
    /// The account, where it is one.
    pub account: Option<Key>,
    /// The first entry that does not fit; 0 where it is none.
    pub seq: i64,
    /// The posting, where it is one.
    pub posting: Option<Uuid>,
    /// The currency, where it is one.
    pub currency: Option<Currency>,
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Accounts looked at.
    pub accounts: i64,
    /// Entries recomputed.
    pub entries: i64,
    /// What does not fit; the first hundred.
    pub findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, finding: Finding) {
        if self.findings.len() < MOST {
            self.findings.push(finding);
        }
    }

    /// Nothing is wrong.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.findings.is_empty()
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some((owner, currency)) = self.account {
            write!(f, ", account {owner} in currency {currency}")?;
        }
        if self.seq > 0 {
            write!(f, ", entry {}", self.seq)?;
        }
        if let Some(currency) = self.currency {
            write!(f, ", currency {currency}")?;
        }
        if let Some(posting) = self.posting {
            write!(f, ", posting {posting}")?;
        }
        Ok(())
    }
}

impl From<Report> for coreloop_ops_api::integrity::Report {
    fn from(report: Report) -> Self {
        let finding = |finding: Finding| coreloop_ops_api::integrity::Finding {
            what: finding.what.to_owned(),
            subject: finding.account.map(|(owner, currency)| format!("{owner}/{currency}")).unwrap_or_default(),
            detail: finding.to_string(),
        };
        Self {
            counts: vec![("accounts", report.accounts), ("entries", report.entries)],
            findings: report.findings.into_iter().map(finding).collect(),
        }
    }
}

/// Looks at everything.
///
/// # Errors
/// When the database fails.
pub async fn verify(db: &PgPool) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut tx = begin(db).await?;
    store::take_time(&mut tx, MINUTES).await?;
    let limit = i64::try_from(MOST).unwrap_or(i64::MAX);
    for currency in store::currency_sums(&mut *tx).await? {
        report.add(of_currency("currency_sum", currency));
    }
    for currency in store::escrow(&mut *tx).await? {
        report.add(of_currency("holds", currency));
    }
    for (posting, currency) in store::unbalanced(&mut *tx, limit).await? {
        report.add(Finding { posting: Some(posting), ..of_currency("unbalanced", currency) });
    }
    for posting in store::idle(&mut *tx, limit).await? {
        report.add(Finding { what: "orphan", account: None, seq: 0, posting: Some(posting), currency: None });
    }
    let mut after: Key = (Uuid::nil(), 0);
    loop {
        let heads = store::heads(&mut *tx, after, PAGE).await?;
        let Some(last) = heads.last() else { break };
        after = (last.owner, last.currency);
        for head in &heads {
            account(&mut tx, head, &mut report).await?;
        }
    }
    tx.rollback().await?;
    Ok(report)
}

fn of_currency(what: &'static str, currency: Currency) -> Finding {
    Finding { what, account: None, seq: 0, posting: None, currency: Some(currency) }
}

async fn account(tx: &mut Transaction, head: &Head, report: &mut Report) -> Result<(), Error> {
    let key = (head.owner, head.currency);
    let of = |what, seq, posting| Finding { what, account: Some(key), seq, posting, currency: None };
    report.accounts += 1;
    if !head.house && (head.funds != head.balance || head.lots != head.expiring) {
        report.add(of("funds", 0, None));
    }
    let mut walk = Walk { key, seq: 0, balance: 0, hash: Vec::new() };
    let mut rows = store::entries(tx, key, head.seq);
    while let Some(row) = rows.try_next().await? {
        report.entries += 1;
        if let Err(what) = walk.step(&row) {
            report.add(of(what, row.seq, Some(row.posting)));
            return Ok(());
        }
    }
    if walk.seq != head.seq {
        report.add(of("sequence", walk.seq + 1, None));
    } else if walk.balance != head.balance {
        report.add(of("balance", 0, None));
    } else if walk.hash != head.hash {
        report.add(of("chain", walk.seq, None));
    }
    Ok(())
}

/// The way along an account's entries.
struct Walk {
    key: Key,
    seq: i64,
    balance: i64,
    hash: Vec<u8>,
}

impl Walk {
    /// One entry further.
    fn step(&mut self, row: &Row) -> Result<(), &'static str> {
        if row.seq != self.seq + 1 {
            return Err("sequence");
        }
        if self.balance.checked_add(row.delta) != Some(row.balance_after) {
            return Err("balance");
        }
        if row.kind == Some(REFUSED) {
            return Err("refused");
        }
        let posting = said(row).map(|said| chain::posting(&said)).ok_or("orphan")?;
        let posted_at = row.posted_at.to_jiff().as_microsecond();
        let (seq, delta, balance_after) = (row.seq, row.delta, row.balance_after);
        let line = chain::Line { key: self.key, seq, delta, balance_after, posted_at };
        if chain::line(&self.hash, &posting, &line)[..] != row.hash[..] {
            return Err("chain");
        }
        (self.seq, self.balance) = (seq, balance_after);
        self.hash.clone_from(&row.hash);
        Ok(())
    }
}

/// The posting of an entry, as it is hashed.
fn said(row: &Row) -> Option<chain::Said<'_>> {
    let words = [&row.caller, &row.key, &row.actor, &row.reason, &row.reference];
    let [Some(caller), Some(key), Some(actor), Some(reason), Some(reference)] = words else { return None };
    Some(chain::Said {
        id: row.posting,
        kind: row.kind?,
        words: [caller, key, actor, reason, reference],
        body_hash: row.body_hash.as_deref()?,
        answer: row.answer.as_deref()?,
        reverses: row.reverses,
        posted_at: row.made_at?.to_jiff().as_microsecond(),
    })
}
