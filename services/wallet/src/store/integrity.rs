//! Reads of everything, to recompute it.

use futures::Stream;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::order::{Currency, Key};

/// Gives the statements of this transaction as long as they need; the service's own are short.
///
/// # Errors
/// When the database fails.
pub async fn take_time(conn: &mut PgConnection, minutes: u32) -> Result<(), sqlx::Error> {
    sqlx::query!("select set_config('statement_timeout', $1, true)", format!("{minutes}min")).fetch_one(conn).await?;
    Ok(())
}

/// Currencies whose accounts do not add up to zero.
///
/// # Errors
/// When the database fails.
pub async fn currency_sums(db: impl PgExecutor<'_>) -> Result<Vec<Currency>, sqlx::Error> {
    sqlx::query_scalar!("select currency from wallet.accounts group by currency having sum(balance) <> 0")
        .fetch_all(db)
        .await
}

/// Currencies in which escrow is not what is held.
///
/// # Errors
/// When the database fails.
pub async fn escrow(db: impl PgExecutor<'_>) -> Result<Vec<Currency>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select a.currency as "currency!"
             from (select currency, sum(balance) as balance from wallet.accounts where house = 5 group by currency) a
             left join (select currency, sum(amount) as held from wallet.holds where state = 'held' group by currency) h
                    on h.currency = a.currency
            where a.balance <> coalesce(h.held, 0)"#
    )
    .fetch_all(db)
    .await
}

/// Postings whose entries do not add up to zero in each currency.
///
/// # Errors
/// When the database fails.
pub async fn unbalanced(db: impl PgExecutor<'_>, limit: i64) -> Result<Vec<(Uuid, Currency)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select posting, currency from wallet.entries group by posting, currency having sum(delta) <> 0 limit $1",
        limit
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.posting, row.currency)).collect())
}

/// Postings without entries; what was refused has none.
///
/// # Errors
/// When the database fails.
pub async fn idle(db: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from wallet.postings p
          where kind <> 11 and not exists (select from wallet.entries e where e.posting = p.id) limit $1",
        limit
    )
    .fetch_all(db)
    .await
}

/// An account as it says of itself.
#[derive(Debug, Clone)]
pub struct Head {
    /// Owner.
    pub owner: Uuid,
    /// Currency.
    pub currency: Currency,
    /// It is the house's.
    pub house: bool,
    /// Balance.
    pub balance: i64,
    /// What never expires and what is in lots.
    pub funds: i64,
    /// What it says is in lots.
    pub expiring: i64,
    /// What is in lots.
    pub lots: i64,
    /// Number of the newest entry.
    pub seq: i64,
    /// Hash of the newest entry.
    pub hash: Vec<u8>,
}

/// Accounts after `after`, in the order of their keys.
///
/// # Errors
/// When the database fails.
pub async fn heads(db: impl PgExecutor<'_>, after: Key, limit: i64) -> Result<Vec<Head>, sqlx::Error> {
    sqlx::query_as!(
        Head,
        r#"select a.owner, a.currency, a.house is not null as "house!", a.balance, a.free + a.paid + a.expiring as "funds!",
                  a.expiring, coalesce(l.remaining, 0)::bigint as "lots!", a.seq, a.hash
             from wallet.accounts a
             left join lateral (select sum(remaining) as remaining from wallet.lots l
                                 where l.owner = a.owner and l.currency = a.currency) l on true
            where (a.owner, a.currency) > ($1, $2)
            order by a.owner, a.currency limit $3"#,
        after.0,
        after.1,
        limit,
    )
    .fetch_all(db)
    .await
}

/// An entry with its posting, as both are hashed.
#[derive(Debug, Clone)]
pub struct Row {
    /// Place in the account.
    pub seq: i64,
    /// Change.
    pub delta: i64,
    /// What the account held afterwards.
    pub balance_after: i64,
    /// Hash.
    pub hash: Vec<u8>,
    /// When.
    pub posted_at: jiff_sqlx::Timestamp,
    /// Posting.
    pub posting: Uuid,
    /// Kind; none when there is no such posting.
    pub kind: Option<i16>,
    /// Whose key.
    pub caller: Option<String>,
    /// Key.
    pub key: Option<String>,
    /// Who.
    pub actor: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What for.
    pub reference: Option<String>,
    /// Hash of what was asked.
    pub body_hash: Option<Vec<u8>>,
    /// The answer.
    pub answer: Option<Vec<u8>>,
    /// What it reverses.
    pub reverses: Option<Uuid>,
    /// When the posting was made.
    pub made_at: Option<jiff_sqlx::Timestamp>,
}

/// The entries of an account, oldest first, up to the one numbered `last`.
pub fn entries<'a>(
    conn: &'a mut PgConnection,
    key: Key,
    last: i64,
) -> impl Stream<Item = Result<Row, sqlx::Error>> + Unpin + 'a {
    sqlx::query_as!(
        Row,
        r#"select e.seq, e.delta, e.balance_after, e.hash, e.posted_at as "posted_at: jiff_sqlx::Timestamp", e.posting,
                  p.kind as "kind?", p.caller as "caller?", p.key as "key?", p.actor as "actor?", p.reason as "reason?",
                  p.reference as "reference?", p.body_hash as "body_hash?", p.answer as "answer?", p.reverses as "reverses?",
                  p.posted_at as "made_at?: jiff_sqlx::Timestamp"
             from wallet.entries e left join wallet.postings p on p.id = e.posting
            where e.owner = $1 and e.currency = $2 and e.seq <= $3 order by e.seq"#,
        key.0,
        key.1,
        last,
    )
    .fetch(conn)
}
