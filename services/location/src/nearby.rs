//! Shops around somebody: searched for a whole cell of the grid, kept, and told to each caller from where they stand.
//!
//! What is kept is what everybody in the cell is told: which shops there are, and how many people came of late. How far they are and
//! whether they are open is told anew each time. The search is a little wider than asked, for nobody stands in the middle of their cell.
//!
//! **How far is searched is one of a few radii, whatever is asked for** ([`searched`]), and told is what is within what was asked: else
//! who asks for 2,001 m, 2,002 m and so on would be kept apart each time, and use up the provider's day from one place.

use std::{collections::HashMap, sync::Arc, time::Duration};

use coreloop_core::Problem;
use coreloop_db::DbError;
use coreloop_location_api::v1::{self, CrowdLevel};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    App, Error,
    cached::Fresh,
    globe::{self, Point, REACH_M},
    hours,
    kakao::{Away, FARTHEST_M},
    shop::{FALLBACK, KAKAO, Place, Shop, completed, crowd},
    store,
};

/// How far is looked where nobody says, in metres.
pub const RADIUS_M: u32 = 2_000;
/// Shops of one answer where those that are kept here answer.
const MOST: usize = 30;
/// How far is searched, in metres: as few as answers of a cell may be kept.
const RADII_M: [u32; 12] = [100, 200, 300, 500, 1_000, 1_500, RADIUS_M, 2_500, 3_000, 5_000, 10_000, FARTHEST_M];

/// The shops of a cell, as they are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Around {
    /// Who says so.
    pub source: String,
    /// They.
    pub shops: Vec<Known>,
}

/// A shop of a cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Known {
    /// It.
    pub shop: Shop,
    /// How many people checked in of late; none: nobody could tell.
    pub visitors: Option<i64>,
}

/// A shop from where somebody stands.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// It.
    pub known: &'a Known,
    /// How far it is, in metres.
    pub distance_m: f64,
}

impl Around {
    /// Those within `radius_m` of a place, the nearest first; of two that are as far, always the same first.
    #[must_use]
    pub fn seen_from(&self, place: Point, radius_m: u32) -> Vec<Seen<'_>> {
        let seen = |known| Seen { known, distance_m: place.distance_m(known.shop.place()) };
        let mut seen: Vec<Seen<'_>> = self.shops.iter().map(seen).collect();
        seen.retain(|seen| seen.distance_m <= f64::from(radius_m));
        seen.sort_by(|one, other| {
            one.distance_m.total_cmp(&other.distance_m).then(one.known.shop.id.cmp(&other.known.shop.id))
        });
        seen
    }
}

impl Seen<'_> {
    /// As the contract has it.
    #[must_use]
    pub fn told(&self, app: &App, now: Timestamp) -> v1::NearbyShop {
        let shop = &self.known.shop;
        let level: CrowdLevel = crowd(self.known.visitors, &app.options);
        v1::NearbyShop {
            shop: Some(shop.told()),
            distance_m: globe::metres(self.distance_m),
            open_state: hours::state(&shop.hours, now).into(),
            crowd: level.into(),
        }
    }
}

/// How far is looked: as asked, or 2 km.
#[must_use]
pub fn radius(asked: i32) -> u32 {
    u32::try_from(asked).ok().filter(|asked| *asked > 0).map_or(RADIUS_M, |asked| asked.min(FARTHEST_M))
}

/// How far is searched for who asks so far: as far, or a little farther.
#[must_use]
pub fn searched(radius_m: u32) -> u32 {
    RADII_M.into_iter().find(|radius| *radius >= radius_m).unwrap_or(FARTHEST_M)
}

/// The shops around the cell of a place: all within `radius_m` that were found, and some beyond ([`Around::seen_from`] leaves them out).
///
/// # Errors
/// When neither the provider nor the database answers.
pub async fn around(app: &Arc<App>, place: Point, radius_m: u32) -> Result<Around, Error> {
    let (cell, radius_m) = (place.cell(), searched(radius_m));
    let searching = Arc::clone(app);
    let search = move || async move { search(&searching, cell.center(), radius_m).await };
    app.cached.get("nearby", &cell.key(radius_m), search).await
}

async fn search(app: &App, center: Point, radius_m: u32) -> Result<Fresh, Problem> {
    match app.kakao.around(center, radius_m + REACH_M).await {
        Ok(places) => {
            let shops = known(app, places).await;
            Fresh::of(&Around { source: KAKAO.to_owned(), shops }, app.options.cache_secs)
        }
        Err(away) => {
            let shops = seeded(app, center, radius_m + REACH_M, &away).await?;
            Fresh::of(&Around { source: FALLBACK.to_owned(), shops }, app.options.fallback_cache_secs)
        }
    }
}

/// What the provider found, with what only we know. Somebody waits: a database that does not answer costs that, and no answer.
async fn known(app: &App, places: Vec<Place>) -> Vec<Known> {
    let now = app.clock.now();
    let ids: Vec<Uuid> = places.iter().map(|place| place.shop.id).collect();
    let (ours, visitors) =
        tokio::join!(within(app, store::shops::meet(&app.db, KAKAO, &places, now)), visitors(app, &ids, now));
    let of = |id| visitors.as_ref().map(|visitors| visitors.get(&id).copied().unwrap_or_default());
    let shops = completed(places, ours.unwrap_or_default());
    shops.into_iter().map(|shop| Known { visitors: of(shop.id), shop }).collect()
}

/// The shops that are kept here, the nearest.
async fn seeded(app: &App, center: Point, radius_m: u32, away: &Away) -> Result<Vec<Known>, Problem> {
    app.metrics.fell_back(away.word());
    let found = store::shops::seeded_within(&app.db, center.bounds(f64::from(radius_m))).await;
    let mut shops = found.map_err(|error| Problem::from(DbError::from(error)))?;
    shops.sort_by(|one, other| center.distance_m(one.place()).total_cmp(&center.distance_m(other.place())));
    shops.truncate(MOST);
    let ids: Vec<Uuid> = shops.iter().map(|shop| shop.id).collect();
    let visitors = visitors(app, &ids, app.clock.now()).await;
    let of = |id| visitors.as_ref().map(|visitors| visitors.get(&id).copied().unwrap_or_default());
    Ok(shops.into_iter().map(|shop| Known { visitors: of(shop.id), shop }).collect())
}

/// How many came to each of late; none when it cannot be told.
pub async fn visitors(app: &App, shops: &[Uuid], now: Timestamp) -> Option<HashMap<Uuid, i64>> {
    let since = now.saturating_sub(jiff::SignedDuration::from_secs(app.options.crowd_secs.into())).unwrap_or(now);
    let counts = within(app, store::visits::counts(&app.db, shops, since)).await?;
    Some(counts.into_iter().collect())
}

/// What the database says, unless it takes too long for somebody who waits for something else.
pub async fn within<T>(app: &App, work: impl Future<Output = Result<T, sqlx::Error>>) -> Option<T> {
    let patience = Duration::from_millis(app.options.database_timeout_ms);
    match tokio::time::timeout(patience, work).await {
        Ok(Ok(said)) => Some(said),
        failed => {
            let error = failed.ok().and_then(Result::err).map(|error| error.to_string());
            tracing::warn!(error, "the database does not say what is known of shops; they are told without");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop(id: u128, lat: f64, lng: f64) -> Known {
        let text = String::new;
        let shop = Shop {
            id: Uuid::from_u128(id),
            name: text(),
            category: text(),
            phone: text(),
            address: text(),
            road_address: text(),
            url: text(),
            lat,
            lng,
            hours: text(),
            tags: Vec::new(),
        };
        Known { shop, visitors: None }
    }

    #[test]
    fn each_is_told_from_where_they_stand() {
        let shops = vec![shop(3, 0.0, 0.02), shop(2, 0.0, 0.01), shop(1, 0.0, -0.01), shop(4, 0.0, 0.5)];
        let around = Around { source: KAKAO.to_owned(), shops };
        let ids = |lng, radius| {
            let seen = around.seen_from(Point { lat: 0.0, lng }, radius);
            seen.iter().map(|seen| seen.known.shop.id.as_u128()).collect::<Vec<_>>()
        };
        assert_eq!(ids(0.0, 20_000), [1, 2, 3], "of two that are as far the same is always first");
        assert_eq!(ids(0.02, 20_000), [3, 2, 1]);
        assert_eq!(ids(0.0, 1_500), [1, 2]);
        assert_eq!(ids(90.0, 20_000), Vec::<u128>::new());
    }

    #[test]
    fn how_far_is_two_kilometres_unless_somebody_says() {
        assert_eq!([0, -1, 1, 20_000, 30_000].map(radius), [2_000, 2_000, 1, 20_000, 20_000]);
    }

    #[test]
    fn whatever_is_asked_a_cell_is_searched_by_a_few_radii_and_no_nearer() {
        let all: std::collections::BTreeSet<u32> = (1..=FARTHEST_M)
            .map(|asked| {
                assert!(searched(asked) >= asked, "{asked}");
                searched(asked)
            })
            .collect();
        assert_eq!(all, RADII_M.into());
        assert_eq!([1, 2_000, 2_001, 20_000].map(searched), [100, 2_000, 2_500, 20_000]);
    }
}
