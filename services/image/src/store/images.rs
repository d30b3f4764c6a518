//! `image.images`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// State of an image that is there.
pub const THERE: i16 = 1;

/// How far the smaller copies are, as the contract numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[repr(i16)]
pub enum Thumbnails {
    /// They are to be made.
    Pending = 1,
    /// They are there.
    Done = 2,
    /// There are none of its format.
    Unsupported = 3,
    /// They cannot be made.
    Failed = 4,
}

/// An image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Id.
    pub id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// Where storage has it.
    pub object_key: String,
    /// What storage calls its content.
    pub etag: String,
    /// As `image/jpeg`.
    pub mime_type: String,
    /// Bytes.
    pub content_length: i64,
    /// The installation; empty: not told.
    pub device_id: String,
    /// Latitude.
    pub gps_lat: Option<f64>,
    /// Longitude.
    pub gps_lng: Option<f64>,
    /// When it was taken, as the app said.
    pub shot_at: Option<jiff_sqlx::Timestamp>,
    /// [`THERE`], or marked.
    pub state: i16,
    /// How far the smaller copies are.
    pub thumbnails: Thumbnails,
    /// When it was registered.
    pub created_at: jiff_sqlx::Timestamp,
}

impl Image {
    /// Nobody has removed it.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.state == THERE
    }
}

/// Writes one, and when the command for its smaller copies is sent; `false` when the image is known.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    connection: &mut PgConnection,
    image: &Image,
    sent: Option<Timestamp>,
) -> Result<bool, sqlx::Error> {
    let written = sqlx::query!(
        "insert into image.images (id, user_id, object_key, etag, mime_type, content_length, device_id, gps_lat, gps_lng,
                                   shot_at, state, created_at, thumbnails, thumbnails_sent_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) on conflict (id) do nothing",
        image.id,
        image.user_id,
        image.object_key,
        image.etag,
        image.mime_type,
        image.content_length,
        image.device_id,
        image.gps_lat,
        image.gps_lng,
        image.shot_at as _,
        image.state,
        image.created_at as _,
        image.thumbnails as i16,
        sent.map(|at| at.to_sqlx()) as _,
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// An image, marked or not.
///
/// # Errors
/// When the database fails.
pub async fn by_id(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Image>, sqlx::Error> {
    sqlx::query_as!(
        Image,
        r#"select id, user_id, object_key, etag, mime_type, content_length, device_id, gps_lat, gps_lng,
                  shot_at as "shot_at: jiff_sqlx::Timestamp", state, thumbnails as "thumbnails: Thumbnails",
                  created_at as "created_at: jiff_sqlx::Timestamp"
             from image.images where id = $1"#,
        id,
    )
    .fetch_optional(db)
    .await
}

/// Images of a user that are there, newest first, before the one that `before` names.
///
/// # Errors
/// When the database fails.
pub async fn of_user(
    db: impl PgExecutor<'_>,
    user: Uuid,
    before: Option<(Timestamp, Uuid)>,
    most: i64,
) -> Result<Vec<Image>, sqlx::Error> {
    let (at, id) = before.unzip();
    sqlx::query_as!(
        Image,
        r#"select id, user_id, object_key, etag, mime_type, content_length, device_id, gps_lat, gps_lng,
                  shot_at as "shot_at: jiff_sqlx::Timestamp", state, thumbnails as "thumbnails: Thumbnails",
                  created_at as "created_at: jiff_sqlx::Timestamp"
             from image.images
            where user_id = $1 and state = 1 and ($2::timestamptz is null or (created_at, id) < ($2, $3))
            order by created_at desc, id desc limit $4"#,
        user,
        at.map(|at| at.to_sqlx()) as _,
        id,
        most,
    )
    .fetch_all(db)
    .await
}

/// Marks an image of a user as removed; `false` when they have none that is there.
///
/// # Errors
/// When the database fails.
pub async fn mark(connection: &mut PgConnection, user: Uuid, id: Uuid) -> Result<bool, sqlx::Error> {
    let marked =
        sqlx::query!("update image.images set state = 2 where id = $1 and user_id = $2 and state = 1", id, user)
            .execute(connection)
            .await?;
    Ok(marked.rows_affected() == 1)
}

/// Marks some images of a user as removed; which. None: they have none that is there.
///
/// # Errors
/// When the database fails.
pub async fn mark_some(connection: &mut PgConnection, user: Uuid, most: i64) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "update image.images set state = 2
          where id in (select id from image.images where user_id = $1 and state = 1
                        order by created_at desc, id desc limit $2)
         returning id",
        user,
        most,
    )
    .fetch_all(connection)
    .await
}

/// Removes the row of one that is marked.
///
/// # Errors
/// When the database fails.
pub async fn forget(db: impl PgExecutor<'_>, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from image.images where id = $1 and state = 2", id).execute(db).await?;
    Ok(())
}
