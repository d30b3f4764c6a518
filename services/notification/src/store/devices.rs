//! `notification.devices`: what is pushed to.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::vault::Sealed;

/// A device, as its owner sees it.
#[derive(Debug, Clone)]
pub struct Device {
    /// Id.
    pub id: Uuid,
    /// As the contract numbers it.
    pub platform: i16,
    /// When it was registered.
    pub registered_at: jiff_sqlx::Timestamp,
    /// When it was last registered again.
    pub seen_at: jiff_sqlx::Timestamp,
}

/// Devices of a user, the one that was seen last first.
///
/// # Errors
/// When the database fails.
pub async fn of_user(db: impl PgExecutor<'_>, user: Uuid) -> Result<Vec<Device>, sqlx::Error> {
    sqlx::query_as!(
        Device,
        r#"select id, platform, registered_at as "registered_at: jiff_sqlx::Timestamp",
                  seen_at as "seen_at: jiff_sqlx::Timestamp"
             from notification.devices where user_id = $1 order by seen_at desc, id"#,
        user,
    )
    .fetch_all(db)
    .await
}

/// Locks the devices of a user, and whosever has a token, until the end of the transaction: in the order of their ids, so that two who
/// take each other's do not wait for each other.
///
/// # Errors
/// When the database fails.
pub async fn lock(connection: &mut PgConnection, user: Uuid, hash: &[u8; 32]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select id from notification.devices where user_id = $1 or token_hash = $2 order by id for update",
        user,
        &hash[..],
    )
    .fetch_all(connection)
    .await?;
    Ok(())
}

/// The device of a user that has a token is seen again; none when they have no such.
///
/// # Errors
/// When the database fails.
pub async fn see(
    connection: &mut PgConnection,
    user: Uuid,
    hash: &[u8; 32],
    (platform, now): (i16, Timestamp),
) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "update notification.devices set platform = $3, seen_at = $4 where token_hash = $2 and user_id = $1 returning id",
        user,
        &hash[..],
        platform,
        now.to_sqlx() as _,
    )
    .fetch_optional(connection)
    .await
}

/// Takes a device of a user out, to be put in with another token: when it was registered; none when they have no such.
///
/// # Errors
/// When the database fails.
pub async fn take(connection: &mut PgConnection, id: Uuid, user: Uuid) -> Result<Option<Timestamp>, sqlx::Error> {
    let taken = sqlx::query_scalar!(
        r#"delete from notification.devices where id = $1 and user_id = $2
           returning registered_at as "registered_at: jiff_sqlx::Timestamp""#,
        id,
        user,
    );
    Ok(taken.fetch_optional(connection).await?.map(|at| at.to_jiff()))
}

/// A device that is put in.
#[derive(Debug, Clone, Copy)]
pub struct New<'a> {
    /// Id.
    pub id: Uuid,
    /// Whose.
    pub user: Uuid,
    /// What its token is found by.
    pub hash: &'a [u8; 32],
    /// Its token.
    pub sealed: &'a Sealed,
    /// As the contract numbers it.
    pub platform: i16,
    /// When it was registered first.
    pub registered_at: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// Puts one in, in the place of whichever had its token, whosever that was: the phone has changed hands.
///
/// # Errors
/// When the database fails.
pub async fn put(connection: &mut PgConnection, new: &New<'_>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into notification.devices (id, user_id, token_hash, token_sealed, token_key, platform, registered_at, seen_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict on constraint devices_token_key do update
            set id = $1, user_id = $2, token_sealed = $4, token_key = $5, platform = $6, registered_at = $7, seen_at = $8",
        new.id,
        new.user,
        &new.hash[..],
        new.sealed.bytes,
        new.sealed.key,
        new.platform,
        new.registered_at.to_sqlx() as _,
        new.now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes those of a user, whose row is locked, that were not seen for longest, but for `most`.
///
/// # Errors
/// When the database fails.
pub async fn make_room(connection: &mut PgConnection, user: Uuid, most: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from notification.devices where id in (
             select id from notification.devices where user_id = $1 order by seen_at desc, id desc offset $2)",
        user,
        most,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes a device of a user; `false` when they have no such.
///
/// # Errors
/// When the database fails.
pub async fn remove_of(db: impl PgExecutor<'_>, id: Uuid, user: Uuid) -> Result<bool, sqlx::Error> {
    let removed = sqlx::query!("delete from notification.devices where id = $1 and user_id = $2", id, user);
    Ok(removed.execute(db).await?.rows_affected() == 1)
}

/// Removes a device that the gateway knows no more, unless it has another token by now.
///
/// # Errors
/// When the database fails.
pub async fn remove_dead(connection: &mut PgConnection, id: Uuid, hash: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from notification.devices where id = $1 and token_hash = $2", id, hash)
        .execute(connection)
        .await?;
    Ok(())
}

/// Tokens that another key than this one has sealed, after an id, in the order of their devices' ids.
///
/// # Errors
/// When the database fails.
pub async fn otherwise(
    db: impl PgExecutor<'_>,
    key: &str,
    after: Uuid,
    most: i64,
) -> Result<Vec<(Uuid, Sealed)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, token_sealed, token_key from notification.devices
          where token_key <> $1 and id > $2 order by id limit $3",
        key,
        after,
        most,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, Sealed { bytes: row.token_sealed, key: row.token_key })).collect())
}

/// Puts a token in that another key has sealed, in the place of what was there.
///
/// # Errors
/// When the database fails.
pub async fn reseal(
    db: impl PgExecutor<'_>,
    id: Uuid,
    (before, sealed): (&Sealed, &Sealed),
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update notification.devices set token_sealed = $3, token_key = $4 where id = $1 and token_sealed = $2",
        id,
        before.bytes,
        sealed.bytes,
        sealed.key,
    )
    .execute(db)
    .await?;
    Ok(())
}
