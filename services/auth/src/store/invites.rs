//! `auth.invites` and `auth.invite_uses`.

use coreloop_auth_api::v1::AuthReason;
use coreloop_core::UserId;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};

use crate::Error;

/// An invite code.
#[derive(Debug, Clone)]
pub struct Invite {
    /// The code.
    pub code: String,
    /// How often it may be used.
    pub max_uses: i32,
    /// How often it was used.
    pub used: i32,
    /// When it expires; none: never.
    pub expires_at: Option<jiff_sqlx::Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Uses one place of a code for an account that was just inserted. One statement decides, so the last place is given
/// once; a rolled back sign-up gives its place back.
///
/// # Errors
/// `INVITE_INVALID` when the code is unknown, used up or expired.
pub async fn take(conn: &mut PgConnection, code: &str, user: UserId, now: Timestamp) -> Result<(), Error> {
    let taken = sqlx::query!(
        r#"with place as (
               update auth.invites set used = used + 1
                where code = $1 and used < max_uses and (expires_at is null or expires_at > $3)
            returning code
           )
           insert into auth.invite_uses (code, user_id, used_at) select code, $2, $3 from place"#,
        code,
        user.0,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    if taken.rows_affected() == 1 { Ok(()) } else { Err(AuthReason::InviteInvalid.into()) }
}

/// Makes a code.
///
/// # Errors
/// `INVITE_EXISTS` by constraint.
pub async fn insert(
    db: impl PgExecutor<'_>,
    code: &str,
    max_uses: i32,
    expires_at: Option<Timestamp>,
    by: UserId,
    now: Timestamp,
) -> Result<Invite, Error> {
    Ok(sqlx::query_as!(
        Invite,
        r#"insert into auth.invites (code, max_uses, expires_at, created_by, created_at) values ($1, $2, $3, $4, $5)
           returning code, max_uses, used, expires_at as "expires_at: jiff_sqlx::Timestamp",
                     created_at as "created_at: jiff_sqlx::Timestamp""#,
        code,
        max_uses,
        expires_at.map(|at| at.to_sqlx()) as _,
        by.0,
        now.to_sqlx() as _,
    )
    .fetch_one(db)
    .await?)
}

/// Codes, newest first, after the one that was made at `before.0` and is named `before.1`.
///
/// # Errors
/// When the database fails.
pub async fn page(
    db: impl PgExecutor<'_>,
    before: Option<(Timestamp, &str)>,
    limit: i64,
) -> Result<Vec<Invite>, Error> {
    let (at, code) = before.map_or((None, None), |(at, code)| (Some(at), Some(code)));
    Ok(sqlx::query_as!(
        Invite,
        r#"select code, max_uses, used, expires_at as "expires_at: jiff_sqlx::Timestamp",
                  created_at as "created_at: jiff_sqlx::Timestamp"
             from auth.invites
            where $1::timestamptz is null or created_at < $1 or (created_at = $1 and code > $2)
            order by created_at desc, code limit $3"#,
        at.map(|at| at.to_sqlx()) as _,
        code,
        limit,
    )
    .fetch_all(db)
    .await?)
}
