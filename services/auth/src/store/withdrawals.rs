//! Erasing a person: what is left of a closed account names nobody.

use coreloop_core::UserId;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;

use crate::Error;

/// Erases the personal data of an account and every way to sign in to it. Lock the account and end its sessions first.
/// History and audit stay, without address or device; what of the audit is still on its way is masked as it arrives
/// ([`super::audits`]).
///
/// # Errors
/// When the database fails.
pub async fn erase(conn: &mut PgConnection, user: UserId, now: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        r#"update auth.users
              set nickname = 'withdrawn', email = null, email_verified = false, profile_image_url = '',
                  birth_date = null, age_state = 'unknown', status = 'withdrawn', withdrawn_at = $2, updated_at = $2
            where id = $1"#,
        user.0,
        now.to_sqlx() as _,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "update auth.sessions set device_id = '', device_name = '', ip = '', user_agent = '' where user_id = $1",
        user.0
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("delete from auth.credentials where user_id = $1", user.0).execute(&mut *conn).await?;
    sqlx::query!("delete from auth.social_accounts where user_id = $1", user.0).execute(&mut *conn).await?;
    sqlx::query!("delete from auth.totp_secrets where user_id = $1", user.0).execute(&mut *conn).await?;
    sqlx::query!("delete from auth.recovery_codes where user_id = $1", user.0).execute(&mut *conn).await?;
    super::admin_devices::forget(&mut *conn, user).await?;
    sqlx::query!("delete from auth.password_resets where user_id = $1", user.0).execute(&mut *conn).await?;
    sqlx::query!("update auth.login_audits set ip = '', user_agent = '' where user_id = $1", user.0)
        .execute(conn)
        .await?;
    Ok(())
}
