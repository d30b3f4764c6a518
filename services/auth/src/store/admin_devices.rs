//! `auth.admin_devices`: devices that administrators have signed in with, by a digest.

use coreloop_core::UserId;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};

use super::users::Credential;
use crate::Error;

/// Devices kept of an administrator; one more forgets the one not used for longest.
const MOST: i64 = 20;

/// What an administrator's sign-in looks at, in one trip whether or not there is such an account. `device` is the digest of
/// the client's device, empty where it names none; only a whole sign-in as administrator makes it a known one.
///
/// # Errors
/// When the database fails.
pub async fn credential(db: impl PgExecutor<'_>, email: &str, device: &[u8]) -> Result<Option<Credential>, Error> {
    Ok(sqlx::query_as!(
        Credential,
        r#"select u.id as user_id, c.password_hash as "password_hash?",
                  exists (select from auth.admin_devices d where d.user_id = u.id and d.device = $2) as "known_device!"
             from auth.users u left join auth.credentials c on c.user_id = u.id
            where u.email = $1 and u.status <> 'withdrawn'"#,
        email,
        device,
    )
    .fetch_optional(db)
    .await?)
}

/// Notes that an administrator signed in with a device. Lock the account first.
///
/// # Errors
/// When the database fails.
pub async fn remember(conn: &mut PgConnection, user: UserId, device: &[u8], now: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        r#"insert into auth.admin_devices (user_id, device, used_at) values ($1, $2, $3)
           on conflict (user_id, device) do update set used_at = excluded.used_at"#,
        user.0,
        device,
        now.to_sqlx() as _,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        r#"delete from auth.admin_devices where user_id = $1 and device not in
             (select device from auth.admin_devices where user_id = $1 order by used_at desc, device limit $2)"#,
        user.0,
        MOST,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets the devices of an account.
///
/// # Errors
/// When the database fails.
pub async fn forget(conn: &mut PgConnection, user: UserId) -> Result<(), Error> {
    sqlx::query!("delete from auth.admin_devices where user_id = $1", user.0).execute(conn).await?;
    Ok(())
}
