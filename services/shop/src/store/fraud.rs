//! Rules against fraud, what they met, and whom they refuse nothing.

use coreloop_shop_api::v1::{FraudHit, FraudMode, FraudRule};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::{fraud::Hit, time};

/// What was there, and what is there now.
pub type Changed = (Option<Value>, Value);

fn small(number: i32) -> i16 {
    i16::try_from(number).unwrap_or_default()
}

/// All rules, by id.
///
/// # Errors
/// When the database fails.
pub async fn rules(db: impl PgExecutor<'_>) -> Result<Vec<FraudRule>, sqlx::Error> {
    let rows =
        sqlx::query!("select id, category, kind, subject, window_secs, most, mode from shop.fraud_rules order by id")
            .fetch_all(db)
            .await?;
    let rules = rows.into_iter().map(|row| FraudRule {
        rule_id: row.id,
        category: row.category.into(),
        kind: row.kind.into(),
        subject: row.subject.into(),
        window_secs: row.window_secs,
        most: row.most,
        mode: row.mode.into(),
    });
    Ok(rules.collect())
}

/// Makes a rule, or changes it; who did is noted. None where nothing changed.
///
/// # Errors
/// When the database fails.
pub async fn upsert(
    conn: &mut PgConnection,
    rule: &FraudRule,
    by: Uuid,
    now: Timestamp,
) -> Result<Option<Changed>, sqlx::Error> {
    let before = sqlx::query_scalar!(
        r#"select to_jsonb(r) - 'updated_at' as "rule!" from shop.fraud_rules r where id = $1 for update"#,
        rule.rule_id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let after = sqlx::query_scalar!(
        r#"insert into shop.fraud_rules as r (id, category, kind, subject, window_secs, most, mode, updated_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8)
           on conflict on constraint fraud_rules_pkey do update set
               category = excluded.category, kind = excluded.kind, subject = excluded.subject,
               window_secs = excluded.window_secs, most = excluded.most, mode = excluded.mode, updated_at = excluded.updated_at
           returning to_jsonb(r) - 'updated_at' as "rule!""#,
        rule.rule_id,
        small(rule.category),
        small(rule.kind),
        small(rule.subject),
        rule.window_secs,
        rule.most,
        small(rule.mode),
        now.to_sqlx() as _,
    )
    .fetch_one(&mut *conn)
    .await?;
    if before.as_ref() == Some(&after) {
        return Ok(None);
    }
    changed(conn, &rule.rule_id, by, (before, after), now).await.map(Some)
}

async fn changed(
    conn: &mut PgConnection,
    subject: &str,
    by: Uuid,
    (before, after): Changed,
    now: Timestamp,
) -> Result<Changed, sqlx::Error> {
    sqlx::query!(
        "insert into shop.fraud_changes (subject, changed_by, before, after, changed_at) values ($1, $2, $3, $4, $5)",
        subject,
        by,
        before,
        after,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok((before, after))
}

/// Notes what rules met.
///
/// # Errors
/// When the database fails.
pub async fn note(conn: &mut PgConnection, hits: &[Hit], now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into shop.fraud_hits (rule, mode, refused, user_id, product_id, device_id, seen, hit_at)
         select rule, mode, refused, user_id, product_id, device_id, seen, $8
           from unnest($1::text[], $2::smallint[], $3::boolean[], $4::uuid[], $5::text[], $6::text[], $7::bigint[])
                as t(rule, mode, refused, user_id, product_id, device_id, seen)",
        &hits.iter().map(|hit| hit.rule.clone()).collect::<Vec<_>>(),
        &hits.iter().map(|hit| small(hit.mode.into())).collect::<Vec<_>>(),
        &hits.iter().map(|hit| hit.refused).collect::<Vec<_>>(),
        &hits.iter().map(|hit| hit.user).collect::<Vec<_>>(),
        &hits.iter().map(|hit| hit.product_id.clone()).collect::<Vec<_>>(),
        &hits.iter().map(|hit| hit.device_id.clone()).collect::<Vec<_>>(),
        &hits.iter().map(|hit| hit.seen).collect::<Vec<_>>(),
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Hits before one, newest first; of one user, or of all.
///
/// # Errors
/// When the database fails.
pub async fn hits(
    db: impl PgExecutor<'_>,
    user: Option<Uuid>,
    before: i64,
    limit: i64,
) -> Result<Vec<FraudHit>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select seq, rule, mode, refused, user_id, product_id, device_id, seen, hit_at as "hit_at: jiff_sqlx::Timestamp"
             from shop.fraud_hits where ($1::uuid is null or user_id = $1) and seq < $2 order by seq desc limit $3"#,
        user as _,
        before,
        limit,
    )
    .fetch_all(db)
    .await?;
    let hits = rows.into_iter().map(|row| FraudHit {
        sequence: row.seq,
        rule_id: row.rule,
        mode: FraudMode::try_from(i32::from(row.mode)).unwrap_or_default().into(),
        refused: row.refused,
        user_id: row.user_id.to_string(),
        product_id: row.product_id,
        device_id: row.device_id,
        seen: row.seen,
        hit_at: Some(time::proto(row.hit_at.to_jiff())),
    });
    Ok(hits.collect())
}

/// Forgets hits before a time.
///
/// # Errors
/// When the database fails.
pub async fn forget(db: impl PgExecutor<'_>, before: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from shop.fraud_hits where hit_at < $1", before.to_sqlx() as _).execute(db).await?;
    Ok(())
}

/// Excuses somebody from the rules until a time; who said so is noted, with what was said before.
///
/// # Errors
/// When the database fails.
pub async fn excuse(
    conn: &mut PgConnection,
    user: Uuid,
    until: Timestamp,
    (reason, by): (&str, Uuid),
    now: Timestamp,
) -> Result<Changed, sqlx::Error> {
    // As it is kept.
    let until = Timestamp::from_microsecond(until.as_microsecond()).unwrap_or(until);
    // What is there stays, and is locked: of two who excuse somebody at once the second sees what the first said.
    let new = sqlx::query!(
        "insert into shop.fraud_excuses (user_id, until, reason, excused_by, updated_at) values ($1, $2, $3, $4, $5)
         on conflict on constraint fraud_excuses_pkey do nothing",
        user,
        until.to_sqlx() as _,
        reason,
        by,
        now.to_sqlx() as _,
    )
    .execute(&mut *conn)
    .await?;
    let said = |until: Timestamp, reason: &str| json!({ "until": until.to_string(), "reason": reason });
    let before = match new.rows_affected() {
        0 => {
            let was = sqlx::query!(
                r#"select until as "until: jiff_sqlx::Timestamp", reason from shop.fraud_excuses where user_id = $1 for update"#,
                user
            )
            .fetch_one(&mut *conn)
            .await?;
            sqlx::query!(
                "update shop.fraud_excuses set until = $2, reason = $3, excused_by = $4, updated_at = $5 where user_id = $1",
                user,
                until.to_sqlx() as _,
                reason,
                by,
                now.to_sqlx() as _,
            )
            .execute(&mut *conn)
            .await?;
            Some(said(was.until.to_jiff(), &was.reason))
        }
        _ => None,
    };
    changed(conn, &user.to_string(), by, (before, said(until, reason)), now).await
}
