//! What is looked up at the provider by words or by a place, and kept: shops by name, places of addresses, addresses of places.

use std::sync::Arc;

use coreloop_core::Problem;
use coreloop_db::DbError;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    App, Error,
    cached::Fresh,
    error::unanswered,
    globe::Point,
    nearby::within,
    shop::{FALLBACK, KAKAO, Shop, completed},
    store,
    wire::Address,
};

/// Shops of one answer where those that are kept here answer.
const MOST: i64 = 15;

/// Shops that words name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Named {
    /// Who says so.
    pub source: String,
    /// The best first.
    pub shops: Vec<Shop>,
}

/// Shops that words name.
///
/// # Errors
/// Words that are none; when neither the provider nor the database answers.
pub async fn shops(app: &Arc<App>, said: &str) -> Result<Named, Error> {
    let words = words("q", said)?;
    let key = key("search", &words);
    let searching = Arc::clone(app);
    app.cached.get("search", &key, move || async move { named(&searching, &words).await }).await
}

async fn named(app: &App, words: &str) -> Result<Fresh, Problem> {
    match app.kakao.search(words).await {
        Ok(places) => {
            // What is told can be kept as a favourite.
            let ours = within(app, store::shops::meet(&app.db, KAKAO, &places, app.clock.now())).await;
            let shops = completed(places, ours.unwrap_or_default());
            Fresh::of(&Named { source: KAKAO.to_owned(), shops }, app.options.search_cache_secs)
        }
        Err(away) => {
            app.metrics.fell_back(away.word());
            let found = store::shops::seeded_named(&app.db, words, MOST).await;
            let shops = found.map_err(|error| Problem::from(DbError::from(error)))?;
            Fresh::of(&Named { source: FALLBACK.to_owned(), shops }, app.options.fallback_cache_secs)
        }
    }
}

/// Places that an address may stand for.
///
/// # Errors
/// Words that are none; `PROVIDER_UNAVAILABLE`.
pub async fn places(app: &Arc<App>, said: &str) -> Result<Vec<Address>, Error> {
    let words = words("query", said)?;
    let key = key("geocode", &words);
    let searching = Arc::clone(app);
    let search = move || async move {
        let found = searching.kakao.geocode(&words).await.map_err(unanswered)?;
        Fresh::of(&found, searching.options.geocode_cache_secs)
    };
    app.cached.get("geocode", &key, search).await
}

/// The address of a place; none where there is none. Places within some ten metres have the same.
///
/// # Errors
/// `PROVIDER_UNAVAILABLE`.
pub async fn address(app: &Arc<App>, place: Point) -> Result<Option<Address>, Error> {
    let near = rounded(place);
    let key = format!("location:reverse:{:.4}:{:.4}", near.lat, near.lng);
    let searching = Arc::clone(app);
    let search = move || async move {
        let found = searching.kakao.address(near).await.map_err(unanswered)?;
        Fresh::of(&found, searching.options.geocode_cache_secs)
    };
    app.cached.get("reverse", &key, search).await
}

/// To four places, some ten metres; 180° and -180° are one, and nought has no sign.
fn rounded(place: Point) -> Point {
    let four = |degrees: f64| (degrees * 10_000.0).round() / 10_000.0 + 0.0;
    let lng = four(place.lng);
    Point { lat: four(place.lat), lng: if lng <= -180.0 { 180.0 } else { lng } }
}

/// Words as they are looked for: in small letters, one blank between two.
fn words(field: &str, said: &str) -> Result<String, Error> {
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    if words.is_empty() { Err(Error::invalid(field, "must have a letter")) } else { Ok(words) }
}

/// Words are what somebody looked for: they stand in no name of a key.
fn key(kind: &str, words: &str) -> String {
    let digest = Sha256::digest(words);
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("location:{kind}:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_mean_the_same_are_looked_for_once() {
        let same = ["Zero  Waste", " zero waste ", "ZERO\u{3000}WASTE"].map(|said| words("q", said).unwrap());
        assert_eq!(same, ["zero waste", "zero waste", "zero waste"]);
        assert!(words("q", " \u{3000} ").is_err());
        assert_ne!(key("search", "a"), key("search", "b"));
        assert_ne!(key("search", "a"), key("geocode", "a"));
        assert_eq!(key("search", "a").len(), "location:search:".len() + 32);
    }

    #[test]
    fn places_ten_metres_apart_have_one_address() {
        let at = |lat, lng| rounded(Point::new(lat, lng).unwrap());
        assert_eq!(at(37.566_51, 126.978_02), at(37.566_48, 126.977_98));
        assert_eq!(at(0.0, 180.0), at(0.0, -180.0));
        assert_eq!(format!("{:.4}", at(-0.000_01, 0.0).lat), "0.0000");
    }
}
