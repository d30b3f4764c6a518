//! Reads of `wallet.postings`, which never change.

use std::collections::HashMap;

use sqlx::PgExecutor;
use uuid::Uuid;

/// A posting that was made. What was refused is none.
#[derive(Debug, Clone)]
pub struct Made {
    /// Whose key it is.
    pub caller: String,
    /// The answer.
    pub answer: Vec<u8>,
}

/// Postings by their ids; those that are not there are left out, as are those that were refused.
///
/// # Errors
/// When the database fails.
pub async fn made(db: impl PgExecutor<'_>, ids: &[Uuid]) -> Result<HashMap<Uuid, Made>, sqlx::Error> {
    let rows = sqlx::query!("select id, caller, answer from wallet.postings where id = any ($1) and kind <> 11", ids)
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, Made { caller: row.caller, answer: row.answer })).collect())
}

/// A line of a user's account, with why it is there.
#[derive(Debug, Clone)]
pub struct Line {
    /// Currency, as the contract numbers it.
    pub currency: i16,
    /// Place in the account.
    pub seq: i64,
    /// Change.
    pub delta: i64,
    /// What the account held afterwards.
    pub balance_after: i64,
    /// Posting.
    pub posting: Uuid,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What it belongs to.
    pub reference: String,
    /// When.
    pub posted_at: jiff_sqlx::Timestamp,
}

/// The newest lines of a user, of one reference or of all, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn lines(
    db: impl PgExecutor<'_>,
    user: Uuid,
    reference: Option<&str>,
    limit: i64,
) -> Result<Vec<Line>, sqlx::Error> {
    let mut lines = sqlx::query_as!(
        Line,
        r#"select e.currency, e.seq, e.delta, e.balance_after, e.posting, p.actor, p.reason, p.reference,
                  e.posted_at as "posted_at: jiff_sqlx::Timestamp"
             from wallet.entries e join wallet.postings p on p.id = e.posting
            where e.owner = $1 and e.currency in (1, 2) and ($2::text is null or p.reference = $2)
            order by e.posted_at desc, e.currency desc, e.seq desc limit $3"#,
        user,
        reference as _,
        limit,
    )
    .fetch_all(db)
    .await?;
    lines.reverse();
    Ok(lines)
}
