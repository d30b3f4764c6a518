//! `location.quota`.

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;

/// Calls that were granted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Granted {
    /// By this.
    pub more: i64,
    /// Of that day before.
    pub before: i64,
}

/// Grants up to `block` calls of a day, in which there are `most`; none when all of them are granted.
///
/// # Errors
/// When the database fails.
pub async fn grant(db: impl PgExecutor<'_>, day: Date, block: i64, most: i64) -> Result<Option<Granted>, sqlx::Error> {
    let row = sqlx::query_as!(
        Granted,
        r#"insert into location.quota as q (day, granted, more) values ($1, least($2::bigint, $3::bigint), least($2, $3))
               on conflict on constraint quota_pkey
               do update set granted = least(q.granted + $2, $3), more = least(q.granted + $2, $3) - q.granted
                   where q.granted < $3
           returning more, granted - more as "before!""#,
        day.to_sqlx() as _,
        block,
        most,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.filter(|granted| granted.more > 0))
}
