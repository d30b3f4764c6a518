//! `location.sites` and which loading of them it is.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};

use crate::{globe::Bounds, sites::Site};

/// Rows of one look around a place.
const MOST: i64 = 5_000;

/// Puts these sites in the place of all that there were; answers which loading it is. Whoever loads at the same time waits.
///
/// # Errors
/// When the database fails.
pub async fn replace(connection: &mut PgConnection, sites: &[Site], now: Timestamp) -> Result<i64, sqlx::Error> {
    let version = sqlx::query_scalar!(
        "update location.sites_loaded set version = version + 1, loaded_at = $1 returning version",
        now.to_sqlx() as _,
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query!("delete from location.sites").execute(&mut *connection).await?;
    let texts = |of: fn(&Site) -> &str| sites.iter().map(|site| of(site).to_owned()).collect::<Vec<String>>();
    let lats: Vec<f64> = sites.iter().map(|site| site.lat).collect();
    let lngs: Vec<f64> = sites.iter().map(|site| site.lng).collect();
    let tags: Vec<String> = sites.iter().map(|site| site.tags.join("|")).collect();
    sqlx::query!(
        "insert into location.sites (id, name, kind, address, lat, lng, hours, tags)
         select u.id, u.name, u.kind, u.address, u.lat, u.lng, u.hours, string_to_array(u.tags, '|')
           from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::float8[], $6::float8[], $7::text[], $8::text[])
                as u (id, name, kind, address, lat, lng, hours, tags)",
        &texts(|site| &site.id)[..],
        &texts(|site| &site.name)[..],
        &texts(|site| &site.kind)[..],
        &texts(|site| &site.address)[..],
        &lats[..],
        &lngs[..],
        &texts(|site| &site.hours)[..],
        &tags[..],
    )
    .execute(connection)
    .await?;
    Ok(version)
}

/// Which loading is there.
///
/// # Errors
/// When the database fails.
pub async fn version(db: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("select version from location.sites_loaded").fetch_one(db).await
}

/// Those of these ids that there are.
///
/// # Errors
/// When the database fails.
pub async fn by_ids(db: impl PgExecutor<'_>, ids: &[String]) -> Result<Vec<Site>, sqlx::Error> {
    sqlx::query_as!(
        Site,
        "select id, name, kind, address, lat, lng, hours, tags from location.sites where id = any($1)",
        ids,
    )
    .fetch_all(db)
    .await
}

/// Those within a rectangle.
///
/// # Errors
/// When the database fails.
pub async fn within(db: impl PgExecutor<'_>, bounds: Bounds) -> Result<Vec<Site>, sqlx::Error> {
    let Bounds { lat, lng: [first, second] } = bounds;
    sqlx::query_as!(
        Site,
        "select id, name, kind, address, lat, lng, hours, tags from location.sites
          where lat between $1 and $2 and (lng between $3 and $4 or lng between $5 and $6) order by id limit $7",
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

/// Ids and places of all, page by page: those behind an id.
///
/// # Errors
/// When the database fails.
pub async fn page(db: impl PgExecutor<'_>, after: &str, most: i64) -> Result<Vec<(String, f64, f64)>, sqlx::Error> {
    let rows = sqlx::query!("select id, lat, lng from location.sites where id > $1 order by id limit $2", after, most)
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.lat, row.lng)).collect())
}
