//! Places where things are taken back: read from a file, kept whole or not at all, found by an index in Redis.
//!
//! A file is the truth: what it has takes the place of all that there was, in one transaction, and a file with one mistake changes
//! nothing. The index `geo:sites` is made beside the old one and takes its place with the number of the loading; whoever finds that it
//! is of another loading, or gone, makes it anew ([`refresh`]). Until then the database is asked.

use std::{collections::BTreeSet, sync::LazyLock, time::Duration};

use coreloop_location_api::v1;
use jiff::Timestamp;
use redis::{Script, aio::ConnectionManager};
use serde::Deserialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{App, Error, csv, globe, globe::Point, hours, store};

/// The index, and which loading it is of.
const INDEX: &str = "geo:sites";
const VERSION: &str = "geo:sites:version";
/// Sites of one answer.
const MOST: usize = 100;
/// Sites of one file, and letters of a text.
const MOST_OF_A_FILE: usize = 200_000;
const LONGEST: usize = 200;
/// Redis has no place further north or south.
const FARTHEST_NORTH: f64 = 85.0;
/// Sites that Redis is told of at once.
const PAGE: i64 = 1_000;
/// Whoever makes an index waits so long for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// An index that nobody finished goes by itself.
const UNFINISHED_SECS: u32 = 600;

/// `KEYS`: the index, its loading. `ARGV`: longitude, latitude, metres, most. Answers whether there is an index, and the ids.
static NEAR: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('exists', KEYS[2]) == 0 then return {0, {}} end
return {1, redis.call('geosearch', KEYS[1], 'fromlonlat', ARGV[1], ARGV[2], 'byradius', ARGV[3], 'm', 'asc', 'count', ARGV[4])}
",
    )
});

/// `KEYS`: the index, its loading, the new index. `ARGV`: the new loading.
static SWAP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('exists', KEYS[3]) == 1 then
  redis.call('rename', KEYS[3], KEYS[1])
  redis.call('persist', KEYS[1])
else
  redis.call('del', KEYS[1])
end
redis.call('set', KEYS[2], ARGV[1])
return 1
",
    )
});

/// A site.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Id, of the file.
    pub id: String,
    /// Name.
    pub name: String,
    /// What kind it is, as `battery`.
    pub kind: String,
    /// Address; may be empty.
    #[serde(default)]
    pub address: String,
    /// Degrees, on the globe.
    pub lat: f64,
    /// Degrees, on the globe.
    pub lng: f64,
    /// As [`crate::hours`] reads it; empty: not known.
    #[serde(default)]
    pub hours: String,
    /// What it takes.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl Site {
    fn place(&self) -> Point {
        Point { lat: self.lat, lng: self.lng }
    }

    /// What is wrong with it.
    fn fault(&self) -> Option<&'static str> {
        let texts = [&self.id, &self.name, &self.kind, &self.address, &self.hours];
        let texts = texts.into_iter().chain(&self.tags);
        let plain = |text: &String| text.chars().count() <= LONGEST && !text.chars().any(char::is_control);
        match () {
            () if !texts.clone().all(plain) => Some("a text is too long, or has what is no letter"),
            () if self.id.is_empty() || self.name.is_empty() || self.kind.is_empty() => {
                Some("id, name and kind must be set")
            }
            () if Point::new(self.lat, self.lng).is_none() => Some("lat and lng must be on the globe"),
            () if self.lat.abs() > FARTHEST_NORTH => Some("lat must be -85 to 85"),
            () if !self.hours.is_empty() && hours::Hours::parse(&self.hours).is_none() => {
                Some("hours must be as `1-5 10:00-20:00;6 11:00-14:00`")
            }
            () if self.tags.iter().any(|tag| tag.is_empty() || tag.contains('|')) => {
                Some("a tag is empty, or has a `|`")
            }
            () => None,
        }
    }
}

/// The sites of a file: JSON (an array of objects) where it begins with `[`, else CSV with a line of names: `id, name, kind, lat, lng` and, if
/// wanted, `address, hours, tags` (between them `|`).
///
/// # Errors
/// Every mistake, with the line of CSV or the place in the array; a hundred at most.
pub fn read(text: &str) -> Result<Vec<Site>, Vec<String>> {
    let json = text.trim_start_matches('\u{feff}').trim_start().starts_with('[');
    let (sites, mut faults) = if json { of_json(text)? } else { of_csv(text)? };
    let mut ids = BTreeSet::new();
    for (place, site) in &sites {
        if let Some(fault) = site.fault() {
            faults.push(format!("{place}: {fault}"));
        } else if !ids.insert(&site.id) {
            faults.push(format!("{place}: the id {} is there already", site.id));
        }
    }
    if sites.len() > MOST_OF_A_FILE {
        faults.push(format!("more than {MOST_OF_A_FILE} sites"));
    }
    faults.truncate(MOST);
    if faults.is_empty() { Ok(sites.into_iter().map(|(_, site)| site).collect()) } else { Err(faults) }
}

/// Sites, each with where it stands; and what is wrong.
type Listed = (Vec<(String, Site)>, Vec<String>);

fn of_json(text: &str) -> Result<Listed, Vec<String>> {
    let text = text.trim_start_matches('\u{feff}');
    let rows: Vec<serde_json::Value> = serde_json::from_str(text).map_err(|error| vec![error.to_string()])?;
    let (mut sites, mut faults) = (Vec::new(), Vec::new());
    for (number, row) in rows.into_iter().enumerate() {
        match serde_json::from_value(row) {
            Ok(site) => sites.push((format!("site {}", number + 1), site)),
            Err(error) => faults.push(format!("site {}: {error}", number + 1)),
        }
    }
    Ok((sites, faults))
}

fn of_csv(text: &str) -> Result<Listed, Vec<String>> {
    let rows = csv::rows(text).map_err(|line| vec![format!("line {line}: a quote is not closed")])?;
    let mut rows = rows.into_iter();
    let (_, names) = rows.next().ok_or_else(|| vec!["the file is empty".to_owned()])?;
    let known = ["id", "name", "kind", "lat", "lng", "address", "hours", "tags"];
    if let Some(name) = names.iter().find(|name| !known.contains(&name.trim())) {
        return Err(vec![format!("line 1: there is no column {name:?}, there are {}", known.join(", "))]);
    }
    let (mut sites, mut faults) = (Vec::new(), Vec::new());
    for (line, row) in rows {
        let field = |name: &str| {
            let at = names.iter().position(|known| known.trim() == name)?;
            row.get(at).map(|field| field.trim())
        };
        let text = |name: &str| field(name).unwrap_or_default().to_owned();
        let number = |name: &str| field(name).and_then(|field| field.parse().ok()).unwrap_or(f64::NAN);
        if row.len() != names.len() {
            faults.push(format!("line {line}: {} fields, and {} names", row.len(), names.len()));
            continue;
        }
        let tags =
            field("tags").unwrap_or_default().split('|').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        let (lat, lng) = (number("lat"), number("lng"));
        let (id, name, kind) = (text("id"), text("name"), text("kind"));
        let site = Site { id, name, kind, address: text("address"), lat, lng, hours: text("hours"), tags };
        sites.push((format!("line {line}"), site));
    }
    Ok((sites, faults))
}

/// Puts these sites in the place of all that there were; answers which loading it is.
///
/// # Errors
/// When the database fails: then nothing has changed.
pub async fn load(db: &PgPool, sites: &[Site], now: Timestamp) -> Result<i64, Error> {
    let mut tx = coreloop_db::begin(db).await?;
    let version = store::sites::replace(&mut tx, sites, now).await?;
    tx.commit().await?;
    Ok(version)
}

/// Makes the index anew where it is not of the loading that the database has; whether it did. `who` names this one.
///
/// # Errors
/// When the database or Redis fails.
pub async fn refresh(db: &PgPool, redis: &ConnectionManager, who: Uuid) -> Result<bool, Error> {
    let version = store::sites::version(db).await?;
    let mut connection = redis.clone();
    let mut command = redis::cmd("GET");
    command.arg(VERSION);
    let indexed: Option<i64> = asked(command.query_async(&mut connection)).await?;
    if indexed == Some(version) {
        return Ok(false);
    }
    let (new, mut after) = (format!("{INDEX}:{who}"), String::new());
    loop {
        let page = store::sites::page(db, &after, PAGE).await?;
        let Some((last, ..)) = page.last() else { break };
        after.clone_from(last);
        let mut add = redis::pipe();
        let command = add.cmd("GEOADD").arg(&new);
        for (id, lat, lng) in &page {
            command.arg(lng).arg(lat).arg(id);
        }
        command.ignore().cmd("EXPIRE").arg(&new).arg(UNFINISHED_SECS).ignore();
        asked(add.query_async::<()>(&mut connection)).await?;
    }
    // Loaded anew meanwhile: of which loading each page was nobody knows. The next look makes it anew, as it does when two are swapped
    // in the wrong order.
    if store::sites::version(db).await? != version {
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(&new);
        asked(unlink.query_async::<()>(&mut connection)).await?;
        return Ok(false);
    }
    let mut swap = SWAP.prepare_invoke();
    swap.key(INDEX).key(VERSION).key(&new).arg(version);
    let _swapped: i64 = asked(swap.invoke_async(&mut connection)).await?;
    Ok(true)
}

async fn asked<T>(work: impl Future<Output = redis::RedisResult<T>>) -> Result<T, Error> {
    let away = |why: String| coreloop_core::Problem::unavailable("redis does not answer", why);
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(said) => said.map_err(|error| away(error.to_string()).into()),
        Err(_) => Err(away("no answer in time".to_owned()).into()),
    }
}

/// Sites around a place, the nearest first.
///
/// # Errors
/// When the database does not answer.
pub async fn around(app: &App, place: Point, radius_m: u32) -> Result<Vec<v1::Site>, Error> {
    let sites = match indexed(app, place, radius_m).await {
        Some(ids) => store::sites::by_ids(&app.db, &ids).await?,
        None => store::sites::within(&app.db, place.bounds(f64::from(radius_m))).await?,
    };
    let now = app.clock.now();
    let mut near: Vec<(f64, Site)> = sites.into_iter().map(|site| (place.distance_m(site.place()), site)).collect();
    near.retain(|(distance_m, _)| *distance_m <= f64::from(radius_m));
    near.sort_by(|(one, first), (other, second)| one.total_cmp(other).then_with(|| first.id.cmp(&second.id)));
    near.truncate(MOST);
    Ok(near.into_iter().map(|(distance_m, site)| told(site, distance_m, now)).collect())
}

/// Ids of the sites around a place, as the index has them; none where there is no index, or it does not answer.
async fn indexed(app: &App, place: Point, radius_m: u32) -> Option<Vec<String>> {
    // Redis keeps places to half a metre, and its earth is a little larger; it does not look over the date line.
    let wider = f64::from(radius_m) * 1.01 + 5.0;
    let [west, east] = place.bounds(wider).lng;
    let mut redis = app.redis.clone().filter(|_| place.lat.abs() <= FARTHEST_NORTH && west == east)?;
    let mut call = NEAR.prepare_invoke();
    call.key(INDEX).key(VERSION).arg(place.lng).arg(place.lat).arg(wider).arg(MOST * 2);
    let patience = Duration::from_millis(app.options.redis_timeout_ms);
    let said = tokio::time::timeout(patience, call.invoke_async::<(i64, Vec<String>)>(&mut redis)).await;
    match said {
        Ok(Ok((1, ids))) => Some(ids),
        Ok(Ok(_)) => None,
        failed => {
            tracing::debug!(timeout = failed.is_err(), "redis does not say which sites are near");
            None
        }
    }
}

fn told(site: Site, distance_m: f64, now: Timestamp) -> v1::Site {
    v1::Site {
        open_state: hours::state(&site.hours, now).into(),
        site_id: site.id,
        name: site.name,
        kind: site.kind,
        address: site.address,
        lat: site.lat,
        lng: site.lng,
        tags: site.tags,
        distance_m: globe::metres(distance_m),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
