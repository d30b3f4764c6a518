//! Age state of accounts, and `auth.age_verifications`.

use coreloop_core::UserId;
use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;

use crate::Error;

/// An account's age after its birth date was declared.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The age state.
    pub state: String,
    /// No date was set before.
    pub first: bool,
}

/// Sets a birth date where none, or the same one, is set; none when another one is.
///
/// # Errors
/// When the database fails.
pub async fn declare(
    conn: &mut PgConnection,
    user: UserId,
    born: Date,
    now: Timestamp,
) -> Result<Option<Declared>, Error> {
    Ok(sqlx::query_as!(
        Declared,
        r#"with before as (select id, birth_date from auth.users where id = $1 for update)
           update auth.users u
              set birth_date = $2, updated_at = $3,
                  age_state = case when age_state = 'unknown' then 'declared' else age_state end
             from before
            where u.id = before.id and status <> 'withdrawn' and (u.birth_date is null or u.birth_date = $2)
           returning age_state as "state!", before.birth_date is null as "first!""#,
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
