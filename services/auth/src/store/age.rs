//! Age state of accounts, and `auth.age_verifications`.

use coreloop_core::UserId;
use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;

use crate::Error;

/// Sets a birth date where none, or the same one, is set; answers the age state, or none when another one is.
///
/// # Errors
/// When the database fails.
pub async fn declare(
    conn: &mut PgConnection,
    user: UserId,
    born: Date,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!(
        r#"update auth.users
              set birth_date = $2, updated_at = $3,
                  age_state = case when age_state = 'unknown' then 'declared' else age_state end
            where id = $1 and status <> 'withdrawn' and (birth_date is null or birth_date = $2)
           returning age_state"#,
        user.0,
        born.to_sqlx() as _,
        now.to_sqlx() as _,
    )
    .fetch_optional(conn)
    .await?)
}

/// Records an event of the age provider; `false` when it was recorded before.
///
/// # Errors
/// When the database fails.
pub async fn record(
    conn: &mut PgConnection,
    event_id: &str,
    user: UserId,
    result: &str,
    now: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        r#"insert into auth.age_verifications (event_id, user_id, result, received_at) values ($1, $2, $3, $4)
           on conflict (event_id) do nothing"#,
        event_id,
        user.0,
        result,
        now.to_sqlx() as _,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Sets the age state of a living account; `false` when there is none.
///
/// # Errors
/// When the database fails.
pub async fn set_state(conn: &mut PgConnection, user: UserId, state: &str, now: Timestamp) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update auth.users set age_state = $2, updated_at = $3 where id = $1 and status <> 'withdrawn'",
        user.0,
        state,
        now.to_sqlx() as _,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}
