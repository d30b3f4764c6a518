//! `auth.sign_in_guards`: each function is one statement, so the row's lock decides between replicas.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;

use crate::{Error, guard::Standing};

/// Asks for a place.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Whose password is tried.
    pub bucket: Vec<u8>,
    /// From where; empty: not known.
    pub address: Vec<u8>,
    /// When.
    pub at: Timestamp,
    /// Tries before this do not count.
    pub since: Timestamp,
    /// Tries that are undecided since before this count as decided.
    pub stale: Timestamp,
    /// Places of the bucket.
    pub limit: i64,
    /// Failures at which the address is refused.
    pub address_limit: i64,
}

/// What became of it.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// The try has a place.
    pub taken: bool,
    /// The address has failed too often; its oldest failure.
    pub address_full: Option<Timestamp>,
}

/// Takes a place, unless the bucket is locked or full, or the address has failed too often.
///
/// # Errors
/// When the database fails.
pub async fn reserve(db: impl PgExecutor<'_>, ask: &Ask) -> Result<Answer, Error> {
    let row = sqlx::query!(
        r#"with address as (
             select count(t) as failed, min(t) as oldest
               from auth.sign_in_guards g, unnest(g.tries) t where g.bucket = $6 and t > $3
           ), place as (
             insert into auth.sign_in_guards as g (bucket, tries, undecided, touched_at)
             select $1, array[$2::timestamptz], 1, $2 from address where failed < $7
             on conflict (bucket) do update
                set tries = array(select t from unnest(g.tries) t where t > $3) || $2::timestamptz,
                    undecided = case when g.touched_at < $4 then 0 else g.undecided end + 1,
                    locked_until = null,
                    touched_at = $2
              where (g.locked_until is null or g.locked_until <= $2)
                and (select count(*) from unnest(g.tries) t where t > $3) < $5
             returning 1
           )
           select exists (select from place) as "taken!", failed as "failed!", oldest as "oldest: jiff_sqlx::Timestamp"
             from address"#,
        ask.bucket.as_slice(),
        ask.at.to_sqlx() as _,
        ask.since.to_sqlx() as _,
        ask.stale.to_sqlx() as _,
        ask.limit,
        ask.address.as_slice(),
        ask.address_limit,
    )
    .fetch_one(db)
    .await?;
    let address_full =
        (row.failed >= ask.address_limit).then(|| row.oldest.map_or(ask.at, jiff_sqlx::Timestamp::to_jiff));
    Ok(Answer { taken: row.taken, address_full })
}

/// Where a bucket stands.
///
/// # Errors
/// When the database fails.
pub async fn standing(db: impl PgExecutor<'_>, bucket: &[u8], since: Timestamp) -> Result<Option<Standing>, Error> {
    let row = sqlx::query!(
        r#"select locked_until as "locked_until: jiff_sqlx::Timestamp", undecided,
                  touched_at as "touched_at: jiff_sqlx::Timestamp",
                  (select min(t) from unnest(tries) t where t > $2) as "oldest: jiff_sqlx::Timestamp"
             from auth.sign_in_guards where bucket = $1"#,
        bucket,
        since.to_sqlx() as _,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Standing {
        locked_until: row.locked_until.map(jiff_sqlx::Timestamp::to_jiff),
        undecided: row.undecided,
        touched_at: row.touched_at.to_jiff(),
        oldest: row.oldest.map(jiff_sqlx::Timestamp::to_jiff),
    }))
}

/// When a bucket locks.
#[derive(Debug, Clone, Copy)]
pub struct Lock {
    /// Failures before this do not count.
    pub since: Timestamp,
    /// This many lock.
    pub limit: i64,
    /// To then.
    pub until: Timestamp,
}

/// The try of `at` failed. A try whose place was given
/// back meanwhile (another one succeeded) is counted again.
///
/// # Errors
/// When the database fails.
pub async fn failed(
    db: impl PgExecutor<'_>,
    bucket: &[u8],
    at: Timestamp,
    lock: Lock,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        r#"update auth.sign_in_guards g
              set tries = case when $2::timestamptz = any (g.tries) then g.tries else g.tries || $2::timestamptz end,
                  undecided = greatest(g.undecided - 1, 0),
                  locked_until = case
                      when (select count(*) from unnest(g.tries) t where t > $3 and t <> $2) + 1 - greatest(g.undecided - 1, 0) >= $4
                      then $6 else g.locked_until end,
                  touched_at = $5
            where bucket = $1"#,
        bucket,
        at.to_sqlx() as _,
        lock.since.to_sqlx() as _,
        lock.limit,
        now.to_sqlx() as _,
        lock.until.to_sqlx() as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Empties a bucket: a try of it was right, or its failures are forgotten.
///
/// # Errors
/// When the database fails.
pub async fn empty(db: impl PgExecutor<'_>, bucket: &[u8], now: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        r#"update auth.sign_in_guards
              set tries = '{}', undecided = greatest(undecided - 1, 0), locked_until = null, touched_at = $2
            where bucket = $1"#,
        bucket,
        now.to_sqlx() as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets the failures of buckets and unlocks them; answers how many failures that were, nothing where there was nothing to forget.
///
/// # Errors
/// When the database fails.
pub async fn pardon(db: impl PgExecutor<'_>, buckets: &[Vec<u8>], now: Timestamp) -> Result<Option<i64>, Error> {
    let forgotten = sqlx::query_scalar!(
        r#"with old as (
               select bucket, cardinality(tries) as failures from auth.sign_in_guards
                where bucket = any ($1) and (tries <> '{}' or locked_until is not null) order by bucket for update
           ), pardoned as (
               update auth.sign_in_guards g set tries = '{}', locked_until = null, touched_at = $2
                 from old where g.bucket = old.bucket
           )
           select sum(failures)::bigint from old"#,
        buckets,
        now.to_sqlx() as _,
    )
    .fetch_one(db)
    .await?;
    Ok(forgotten)
}

/// Gives the place of the try of `at` back.
///
/// # Errors
/// When the database fails.
pub async fn forgiven(db: impl PgExecutor<'_>, bucket: &[u8], at: Timestamp, now: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        r#"update auth.sign_in_guards
              set tries = array_remove(tries, $2::timestamptz), undecided = greatest(undecided - 1, 0), touched_at = $3
            where bucket = $1"#,
        bucket,
        at.to_sqlx() as _,
        now.to_sqlx() as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Failures of a bucket.
#[derive(Debug, Clone, Copy)]
pub struct Failures {
    /// How many.
    pub count: i64,
    /// When the first of them was.
    pub oldest: Option<Timestamp>,
}

/// The failures since `since` of a bucket that has no places.
///
/// # Errors
/// When the database fails.
pub async fn failures(db: impl PgExecutor<'_>, bucket: &[u8], since: Timestamp) -> Result<Failures, Error> {
    let row = sqlx::query!(
        r#"select count(t) as "count!", min(t) as "oldest: jiff_sqlx::Timestamp"
             from auth.sign_in_guards g, unnest(g.tries) t where g.bucket = $1 and t > $2"#,
        bucket,
        since.to_sqlx() as _,
    )
    .fetch_one(db)
    .await?;
    Ok(Failures { count: row.count, oldest: row.oldest.map(jiff_sqlx::Timestamp::to_jiff) })
}

/// Counts a failure of a bucket that has no places. When there are `most` of them already it is not counted, and the oldest
/// one is answered.
///
/// # Errors
/// When the database fails.
pub async fn count_failure(
    db: impl PgExecutor<'_>,
    bucket: &[u8],
    since: Timestamp,
    most: i64,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let row = sqlx::query!(
        r#"with counted as (
             insert into auth.sign_in_guards as g (bucket, tries, touched_at) values ($1, array[$2::timestamptz], $2)
             on conflict (bucket) do update
                set tries = array(select t from unnest(g.tries) t where t > $3) || $2::timestamptz, touched_at = $2
              where (select count(*) from unnest(g.tries) t where t > $3) < $4
             returning 1
           )
           select exists (select from counted) as "counted!",
                  (select min(t) from auth.sign_in_guards g, unnest(g.tries) t where g.bucket = $1 and t > $3)
                      as "oldest: jiff_sqlx::Timestamp""#,
        bucket,
        now.to_sqlx() as _,
        since.to_sqlx() as _,
        most,
    )
    .fetch_one(db)
    .await?;
    Ok((!row.counted).then(|| row.oldest.map_or(now, jiff_sqlx::Timestamp::to_jiff)))
}

/// Drops buckets that were not touched since `before`, at most 1,000; answers how many.
///
/// # Errors
/// When the database fails.
pub async fn sweep(db: impl PgExecutor<'_>, before: Timestamp) -> Result<u64, Error> {
    Ok(sqlx::query!(
        r#"delete from auth.sign_in_guards where bucket in
             (select bucket from auth.sign_in_guards where touched_at < $1 order by touched_at limit 1000)"#,
        before.to_sqlx() as _,
    )
    .execute(db)
    .await?
    .rows_affected())
}
