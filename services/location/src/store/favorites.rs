//! `location.favorites`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::shop::Shop;

/// A favourite.
#[derive(Debug, Clone)]
pub struct Favorite {
    /// The shop.
    pub shop: Shop,
    /// Since when.
    pub created_at: jiff_sqlx::Timestamp,
}

/// Keeps a favourite of a user whose row is held, who may have `most`; one that is kept stays as it is. `false` when there are as many.
///
/// # Errors
/// When the database fails; `favorites_shop_id_fkey` for a shop that is none.
pub async fn keep(
    connection: &mut PgConnection,
    (user, shop): (Uuid, Uuid),
    most: i64,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with kept as (
               insert into location.favorites (user_id, shop_id, created_at)
               select $1, $2, $4 where (select count(*) from location.favorites where user_id = $1) < $3
               on conflict on constraint favorites_pkey do nothing
               returning 1
           )
           select exists (select from kept) or exists (select from location.favorites where user_id = $1 and shop_id = $2)
               as "kept!""#,
        user,
        shop,
        most,
        now.to_sqlx() as _,
    )
    .fetch_one(connection)
    .await
}

/// Removes one.
///
/// # Errors
/// When the database fails.
pub async fn remove(db: impl PgExecutor<'_>, user: Uuid, shop: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from location.favorites where user_id = $1 and shop_id = $2", user, shop).execute(db).await?;
    Ok(())
}

/// One of a user.
///
/// # Errors
/// When the database fails.
pub async fn one(db: impl PgExecutor<'_>, user: Uuid, shop: Uuid) -> Result<Option<Favorite>, sqlx::Error> {
    let rows = page(db, user, None, Some(shop), 1).await?;
    Ok(rows.into_iter().next())
}

/// Those of a user, the newest first, from behind a place on.
///
/// # Errors
/// When the database fails.
pub async fn of_user(
    db: impl PgExecutor<'_>,
    user: Uuid,
    before: Option<(Timestamp, Uuid)>,
    most: i64,
) -> Result<Vec<Favorite>, sqlx::Error> {
    page(db, user, before, None, most).await
}

async fn page(
    db: impl PgExecutor<'_>,
    user: Uuid,
    before: Option<(Timestamp, Uuid)>,
    shop: Option<Uuid>,
    most: i64,
) -> Result<Vec<Favorite>, sqlx::Error> {
    let (before_at, before_id) = before.unzip();
    let rows = sqlx::query_as!(
        Row,
        r#"select f.created_at as "created_at: jiff_sqlx::Timestamp", s.id, s.name, s.category, s.phone, s.address, s.road_address,
                  s.url, s.lat, s.lng, s.hours, s.tags
             from location.favorites f join location.shops s on s.id = f.shop_id
            where f.user_id = $1 and ($2::timestamptz is null or (f.created_at, f.shop_id) < ($2, $3::uuid))
              and ($4::uuid is null or f.shop_id = $4)
            order by f.created_at desc, f.shop_id desc limit $5"#,
        user,
        before_at.map(|at| at.to_sqlx()) as _,
        before_id,
        shop,
        most,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Row::read).collect())
}

#[derive(Debug)]
struct Row {
    created_at: jiff_sqlx::Timestamp,
    id: Uuid,
    name: String,
    category: String,
    phone: String,
    address: String,
    road_address: String,
    url: String,
    lat: f64,
    lng: f64,
    hours: String,
    tags: Vec<String>,
}

impl Row {
    fn read(self) -> Favorite {
        let Self { created_at, id, name, category, phone, address, road_address, url, lat, lng, hours, tags } = self;
        let shop = Shop { id, name, category, phone, address, road_address, url, lat, lng, hours, tags };
        Favorite { shop, created_at }
    }
}

/// Deletes all of a user.
///
/// # Errors
/// When the database fails.
pub async fn forget(connection: &mut PgConnection, user: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from location.favorites where user_id = $1", user).execute(connection).await?;
    Ok(())
}
