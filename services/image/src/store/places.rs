//! `image.places`: what was signed and is not registered, and what is to be removed from storage though it is no image.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// Notes a place whose object is removed at `due`, unless it is registered before.
///
/// # Errors
/// When the database fails.
pub async fn note(
    db: impl PgExecutor<'_>,
    (image, user): (Uuid, Uuid),
    object_key: &str,
    due: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into image.places (image_id, user_id, object_key, due_at) values ($1, $2, $3, $4)
         on conflict (image_id) do update set due_at = excluded.due_at",
        image,
        user,
        object_key,
        due.to_sqlx() as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes a place whose upload is registered; `false` when its object was removed. One that is not noted is good: it was signed by
/// an older process, or while the database was away.
///
/// # Errors
/// When the database fails.
pub async fn take(connection: &mut PgConnection, image: Uuid) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query_scalar!(
        r#"delete from image.places where image_id = $1 returning removed_at is null as "good!""#,
        image,
    );
    Ok(taken.fetch_optional(connection).await?.unwrap_or(true))
}

/// Has all places of a user end at `due` at the latest.
///
/// # Errors
/// When the database fails.
pub async fn hasten(connection: &mut PgConnection, user: Uuid, due: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!("update image.places set due_at = $2 where user_id = $1 and due_at > $2", user, due.to_sqlx() as _,)
        .execute(connection)
        .await?;
    Ok(())
}

/// An object that is to be removed.
#[derive(Debug, Clone)]
pub struct Due {
    /// The image that it was to be.
    pub image_id: Uuid,
    /// Where storage has it.
    pub object_key: String,
    /// It was removed before: nothing is sent there any more.
    pub again: bool,
}

/// Takes some whose time has come, to be removed now and once more at `again`; replicas take different ones. From now on none of them
/// is registered. An image that is there is none of them, whatever is noted.
///
/// # Errors
/// When the database fails.
pub async fn take_due(
    db: impl PgExecutor<'_>,
    (now, again): (Timestamp, Timestamp),
    most: i64,
) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as!(
        Due,
        r#"update image.places set removed_at = coalesce(removed_at, $1), due_at = $2 where image_id in (
               select image_id from image.places p
                where due_at <= $1
                  and not exists (select from image.images i where i.id = p.image_id and i.state = 1)
                order by due_at limit $3 for update skip locked)
           returning image_id, object_key, removed_at < $1 as "again!""#,
        now.to_sqlx() as _,
        again.to_sqlx() as _,
        most,
    )
    .fetch_all(db)
    .await
}

/// Forgets a place whose object is gone for good.
///
/// # Errors
/// When the database fails.
pub async fn forget(db: impl PgExecutor<'_>, image: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from image.places where image_id = $1", image).execute(db).await?;
    Ok(())
}

/// Forgets the notes of images that are there: they were written late.
///
/// # Errors
/// When the database fails.
pub async fn forget_registered(db: impl PgExecutor<'_>, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from image.places p using image.images i where p.due_at <= $1 and i.id = p.image_id and i.state = 1",
        now.to_sqlx() as _,
    )
    .execute(db)
    .await?;
    Ok(())
}
