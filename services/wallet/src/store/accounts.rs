//! Reads of `wallet.accounts` and `wallet.entries`.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::{
    funds::Micros,
    order::{Currency, Key},
};

/// What somebody has in a currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// What can be spent: what is over and still there is not counted.
    pub available: i64,
    /// Of that, what was paid for.
    pub paid: i64,
    /// What is held.
    pub held: i64,
}

/// What accounts have; those that are not there are left out.
///
/// # Errors
/// When the database fails.
pub async fn balances(
    db: impl PgExecutor<'_>,
    keys: &[Key],
    now: Timestamp,
) -> Result<HashMap<Key, Balance>, sqlx::Error> {
    let (owners, currencies): (Vec<Uuid>, Vec<Currency>) = keys.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"select a.owner, a.currency,
                  (a.free + a.paid + coalesce(l.live, 0))::bigint as "available!",
                  (a.paid + coalesce(l.paid, 0))::bigint as "paid!",
                  coalesce(h.held, 0)::bigint as "held!"
             from unnest($1::uuid[], $2::smallint[]) as k(owner, currency)
             join wallet.accounts a on a.owner = k.owner and a.currency = k.currency
             left join lateral (
                 select sum(remaining) as live, sum(remaining) filter (where l.paid) as paid from wallet.lots l
                  where l.owner = a.owner and l.currency = a.currency and l.expires_at > $3 and a.expiring > 0) l on true
             left join lateral (
                 select sum(h.amount) as held from wallet.holds h
                  where h.owner = a.owner and h.currency = a.currency and h.state = 'held') h on true"#,
        &owners,
        &currencies,
        now.to_sqlx() as _,
    )
    .fetch_all(db)
    .await?;
    let found = rows
        .into_iter()
        .map(|row| ((row.owner, row.currency), Balance { available: row.available, paid: row.paid, held: row.held }));
    Ok(found.collect())
}

/// What an account held at a time. The times of its entries never go back, so the primary key is searched by halves and no
/// index of times is kept.
///
/// # Errors
/// When the database fails.
pub async fn balance_at(db: impl PgExecutor<'_>, key: Key, at: Timestamp) -> Result<i64, sqlx::Error> {
    let found = sqlx::query_scalar!(
        r#"with recursive half(low, high) as (
               select 0::bigint, a.seq from wallet.accounts a where a.owner = $1 and a.currency = $2
               union all
               select case when e.posted_at <= $3 then e.seq else h.low end,
                      case when e.posted_at <= $3 then h.high else e.seq - 1 end
                 from half h
                 join wallet.entries e on e.owner = $1 and e.currency = $2 and e.seq = (h.low + h.high + 1) / 2
                where h.low < h.high
           )
           select balance_after from wallet.entries
            where owner = $1 and currency = $2 and seq = (select low from half where low >= high)"#,
        key.0,
        key.1,
        at.to_sqlx() as _,
    )
    .fetch_optional(db)
    .await?;
    Ok(found.unwrap_or_default())
}

/// A line of an account with its posting.
#[derive(Debug, Clone)]
pub struct Line {
    /// Place in the account.
    pub seq: i64,
    /// Posting.
    pub posting: Uuid,
    /// Kind, as the contract numbers it.
    pub kind: i16,
    /// Change.
    pub delta: i64,
    /// What the account held afterwards.
    pub balance_after: i64,
    /// Why.
    pub reason: String,
    /// What it belongs to.
    pub reference: String,
    /// When.
    pub posted_at: jiff_sqlx::Timestamp,
}

impl Line {
    /// When, in microseconds.
    #[must_use]
    pub fn at(&self) -> Micros {
        self.posted_at.to_jiff().as_microsecond()
    }
}

/// Lines of an account, newest first, before the one numbered `before`.
///
/// # Errors
/// When the database fails.
pub async fn page(
    db: impl PgExecutor<'_>,
    key: Key,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Line>, sqlx::Error> {
    sqlx::query_as!(
        Line,
        r#"select e.seq, e.posting, p.kind, e.delta, e.balance_after, p.reason, p.reference,
                  e.posted_at as "posted_at: jiff_sqlx::Timestamp"
             from wallet.entries e join wallet.postings p on p.id = e.posting
            where e.owner = $1 and e.currency = $2 and e.seq < $3
            order by e.seq desc limit $4"#,
        key.0,
        key.1,
        before.unwrap_or(i64::MAX),
        limit,
    )
    .fetch_all(db)
    .await
}
