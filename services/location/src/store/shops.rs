//! `location.shops`.

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::{
    globe::Bounds,
    shop::{Place, Shop},
};

/// Rows of one look around a place.
const MOST: i64 = 1_000;
/// That a shop was met is written down this long after it was the last time.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What only we know of a shop that a provider found.
#[derive(Debug, Clone)]
pub struct Ours {
    /// Which.
    pub id: Uuid,
    /// Its hours; empty: not known.
    pub hours: String,
    /// What it is good for.
    pub tags: Vec<String>,
}

/// A shop that no search has met for long.
#[derive(Debug, Clone, Copy)]
pub struct Unmet {
    /// Which.
    pub id: Uuid,
    /// When it was, to the day.
    pub updated_at: jiff_sqlx::Timestamp,
}

/// Keeps what a provider says of shops, those that are as they were untouched, but for once a day that they were met; answers what only
/// we know of those that we knew. Rows are written in the order of their ids, so that two who meet the same do not wait for each other.
///
/// # Errors
/// When the database fails.
pub async fn meet(
    db: impl PgExecutor<'_>,
    provider: &str,
    places: &[Place],
    now: Timestamp,
) -> Result<Vec<Ours>, sqlx::Error> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let texts = |of: fn(&Place) -> &str| places.iter().map(|place| of(place).to_owned()).collect::<Vec<String>>();
    let ids: Vec<Uuid> = places.iter().map(|place| place.shop.id).collect();
    let lats: Vec<f64> = places.iter().map(|place| place.shop.lat).collect();
    let lngs: Vec<f64> = places.iter().map(|place| place.shop.lng).collect();
    let a_day_ago = now.saturating_sub(DAY).unwrap_or(now);
    sqlx::query_as!(
        Ours,
        r#"with met as (
               insert into location.shops as s
                      (id, provider, provider_id, name, category, phone, address, road_address, url, lat, lng, updated_at)
               select u.id, $1, u.provider_id, u.name, u.category, u.phone, u.address, u.road_address, u.url, u.lat, u.lng, $12
                 from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                             $10::float8[], $11::float8[])
                      as u (id, provider_id, name, category, phone, address, road_address, url, lat, lng)
                order by u.id
               on conflict on constraint shops_provider_key do update
                  set name = excluded.name, category = excluded.category, phone = excluded.phone, address = excluded.address,
                      road_address = excluded.road_address, url = excluded.url, lat = excluded.lat, lng = excluded.lng,
                      updated_at = excluded.updated_at
                where (s.name, s.category, s.phone, s.address, s.road_address, s.url, s.lat, s.lng)
                      is distinct from (excluded.name, excluded.category, excluded.phone, excluded.address,
                                        excluded.road_address, excluded.url, excluded.lat, excluded.lng)
                      or (not s.seeded and s.updated_at < $13)
           )
           select id, hours, tags from location.shops where id = any($2)"#,
        provider,
        &ids[..],
        &texts(|place| &place.provider_id)[..],
        &texts(|place| &place.shop.name)[..],
        &texts(|place| &place.shop.category)[..],
        &texts(|place| &place.shop.phone)[..],
        &texts(|place| &place.shop.address)[..],
        &texts(|place| &place.shop.road_address)[..],
        &texts(|place| &place.shop.url)[..],
        &lats[..],
        &lngs[..],
        now.to_sqlx() as _,
        a_day_ago.to_sqlx() as _,
    )
    .fetch_all(db)
    .await
}

/// Seeded shops within a rectangle.
///
/// # Errors
/// When the database fails.
pub async fn seeded_within(db: impl PgExecutor<'_>, bounds: Bounds) -> Result<Vec<Shop>, sqlx::Error> {
    let Bounds { lat, lng: [first, second] } = bounds;
    sqlx::query_as!(
        Shop,
        "select id, name, category, phone, address, road_address, url, lat, lng, hours, tags from location.shops
          where seeded and lat between $1 and $2 and (lng between $3 and $4 or lng between $5 and $6) order by id limit $7",
        lat.0,
        lat.1,
        first.0,
        first.1,
        second.0,
        second.1,
        MOST,
    )
    .fetch_all(db)
    .await
}

/// Seeded shops with these words in their name or category.
///
/// # Errors
/// When the database fails.
pub async fn seeded_named(db: impl PgExecutor<'_>, words: &str, most: i64) -> Result<Vec<Shop>, sqlx::Error> {
    sqlx::query_as!(
        Shop,
        "select id, name, category, phone, address, road_address, url, lat, lng, hours, tags from location.shops
          where seeded and (position($1 in lower(name)) > 0 or position($1 in lower(category)) > 0)
          order by position($1 in lower(name)) = 0, name, id limit $2",
        words,
        most,
    )
    .fetch_all(db)
    .await
}

/// A shop.
///
/// # Errors
/// When the database fails.
pub async fn by_id(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Shop>, sqlx::Error> {
    sqlx::query_as!(
        Shop,
        "select id, name, category, phone, address, road_address, url, lat, lng, hours, tags from location.shops where id = $1",
        id,
    )
    .fetch_optional(db)
    .await
}

/// Shops of which a provider alone knows and that were not met since a time, from behind a place on, the oldest first: held to the end
/// of the transaction, so that nobody begins to keep one meanwhile. Who is met, kept or visited just now is left out.
///
/// # Errors
/// When the database fails.
pub async fn unmet(
    connection: &mut PgConnection,
    since: Timestamp,
    after: Option<(Timestamp, Uuid)>,
    most: i64,
) -> Result<Vec<Unmet>, sqlx::Error> {
    let (after_at, after_id) = after.unzip();
    sqlx::query_as!(
        Unmet,
        r#"select id, updated_at as "updated_at: jiff_sqlx::Timestamp" from location.shops
            where not seeded and hours = '' and tags = '{}' and updated_at < $1
              and ($2::timestamptz is null or (updated_at, id) > ($2, $3::uuid))
            order by updated_at, id limit $4 for update skip locked"#,
        since.to_sqlx() as _,
        after_at.map(|at| at.to_sqlx()) as _,
        after_id,
        most,
    )
    .fetch_all(connection)
    .await
}

/// Deletes those of these shops, which are held, that nobody keeps and nobody was at; answers how many.
///
/// # Errors
/// When the database fails.
pub async fn forget(connection: &mut PgConnection, ids: &[Uuid]) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        "delete from location.shops s
          where s.id = any($1) and not exists (select from location.favorites f where f.shop_id = s.id)
            and not exists (select from location.visits v where v.shop_id = s.id)",
        ids,
    )
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected())
}
