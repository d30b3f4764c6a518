//! What items have done.

use coreloop_shop_api::v1::ActiveEffect;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::time;

/// What a user has of what items did: what lasts goes on one after the other, anything else adds up. What is over is left out.
///
/// # Errors
/// When the database fails.
pub async fn active(db: impl PgExecutor<'_>, user: Uuid, now: Timestamp) -> Result<Vec<ActiveEffect>, sqlx::Error> {
    // The end of a row of periods, each begun when it was bought or when the one before it ended: the latest of what each
    // purchase and all after it come to. A hundred years are enough, and still a time.
    let rows = sqlx::query!(
        r#"select code as "code!", amount as "amount!", ends_at as "ends_at: jiff_sqlx::Timestamp" from (
               select code, amount, max(applied_at + make_interval(secs => least(lasts, 3153600000)::double precision)) as ends_at
                 from (select code, amount, applied_at,
                              sum(duration_secs) over (partition by code, amount order by applied_at desc, purchase_id
                                                       rows unbounded preceding) as lasts
                         from shop.effects where user_id = $1 and duration_secs > 0) e
                group by code, amount
               union all
               select code, least(sum(amount), 9007199254740991)::bigint, null
                 from shop.effects where user_id = $1 and duration_secs = 0 group by code
           ) active
           where ends_at is null or ends_at > $2
           order by code, amount"#,
        user,
        now.to_sqlx() as _
    )
    .fetch_all(db)
    .await?;
    let effect = |code, amount, ends_at: Option<jiff_sqlx::Timestamp>| ActiveEffect {
        code,
        amount,
        ends_at: ends_at.map(|at| time::proto(at.to_jiff())),
    };
    Ok(rows.into_iter().map(|row| effect(row.code, row.amount, row.ends_at)).collect())
}
