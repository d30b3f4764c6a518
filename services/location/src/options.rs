//! Settings of the section `location`: defaulted, documented, checked before the process starts.

use coreloop_config::{Errors, Section};
use coreloop_service::Mode;
use secrecy::SecretString;
use serde::Deserialize;

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Where Kakao Local is: the base of its API.
    pub kakao_url: String,
    /// Its REST key; without one it is not asked, and the shops that are kept here answer.
    pub kakao_key: Option<SecretString>,
    /// One search at the provider gets this long, in milliseconds.
    pub kakao_timeout_ms: u64,
    /// Words that shops are searched by.
    pub keywords: Vec<String>,
    /// Codes of categories that shops are searched by.
    pub categories: Vec<String>,
    /// Failures in a row after which the provider is left alone.
    pub breaker_failures: u32,
    /// For how long, in seconds.
    pub breaker_secs: u32,
    /// Calls of the provider in a day of Korea, by all replicas.
    pub quota_daily: u32,
    /// Calls that are written down at once before they are made: so many at most are lost of the day's with a Redis that forgets.
    pub quota_block: u32,
    /// How long the shops around a cell are kept, in seconds.
    pub cache_secs: u32,
    /// And those that answered because the provider did not.
    pub fallback_cache_secs: u32,
    /// How long what a search by words found is kept, in seconds.
    pub search_cache_secs: u32,
    /// How long addresses are kept, in seconds.
    pub geocode_cache_secs: u32,
    /// Redis gets this long for one answer, in milliseconds; then each replica remembers by itself.
    pub redis_timeout_ms: u64,
    /// The database gets this long for what only we know of shops that the provider found, in milliseconds; then they are told without.
    pub database_timeout_ms: u64,
    /// A shop that no search finds and nobody keeps is forgotten after so many days.
    pub shop_keep_days: u32,
    /// How near one must be for a visit, in metres.
    pub visit_m: u32,
    /// Visits of this long ago count for how crowded a shop is, in seconds.
    pub crowd_secs: u32,
    /// So many make a shop NORMAL.
    pub crowd_normal: u32,
    /// So many make it BUSY.
    pub crowd_busy: u32,
    /// Favourites of one user.
    pub favorites_per_user: u32,
    /// Live maps of one user that are open at once, by replica.
    pub tracks_per_user: u32,
    /// Time between two messages of a live map, in milliseconds.
    pub track_gap_ms: u64,
    /// Time after which a live map that has said nothing says that it is open, in seconds.
    pub track_beat_secs: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kakao_url: "https://dapi.kakao.com".to_owned(),
            kakao_key: None,
            kakao_timeout_ms: 2_500,
            keywords: vec!["제로웨이스트".to_owned()],
            categories: vec!["MT1".to_owned()],
            breaker_failures: 5,
            breaker_secs: 30,
            quota_daily: 100_000,
            quota_block: 500,
            cache_secs: 30,
            fallback_cache_secs: 5,
            search_cache_secs: 300,
            geocode_cache_secs: 86_400,
            redis_timeout_ms: 100,
            database_timeout_ms: 1_000,
            shop_keep_days: 90,
            visit_m: 100,
            crowd_secs: 3_600,
            crowd_normal: 3,
            crowd_busy: 10,
            favorites_per_user: 500,
            tracks_per_user: 4,
            track_gap_ms: 500,
            track_beat_secs: 15,
        }
    }
}

impl Options {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Every problem, with file and line or the variable's name.
    pub fn read(section: &Section, mode: Mode) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| {
            report.within("kakao_timeout_ms", options.kakao_timeout_ms, 100, 10_000);
            report.within("breaker_failures", options.breaker_failures, 1, 1_000_000);
            report.within("breaker_secs", options.breaker_secs, 1, 3_600);
            report.within("quota_daily", options.quota_daily, 0, 100_000_000);
            report.within("quota_block", options.quota_block, 1, 10_000);
            report.within("cache_secs", options.cache_secs, 1, 3_600);
            report.within("fallback_cache_secs", options.fallback_cache_secs, 1, 3_600);
            report.within("search_cache_secs", options.search_cache_secs, 1, 86_400);
            report.within("geocode_cache_secs", options.geocode_cache_secs, 1, 2_592_000);
            report.within("redis_timeout_ms", options.redis_timeout_ms, 1, 10_000);
            report.within("database_timeout_ms", options.database_timeout_ms, 1, 20_000);
            // That it was met is known to the day, and what was found is answered from a cache for a day more at most.
            report.within("shop_keep_days", options.shop_keep_days, 3, 3_650);
            report.within("visit_m", options.visit_m, 1, 10_000);
            report.within("crowd_secs", options.crowd_secs, 60, 86_400);
            report.within("crowd_normal", options.crowd_normal, 1, options.crowd_busy.max(1));
            report.within("favorites_per_user", options.favorites_per_user, 1, 10_000);
            report.within("tracks_per_user", options.tracks_per_user, 1, 100);
            // Two a second each way.
            report.within("track_gap_ms", options.track_gap_ms, 500, 60_000);
            report.within("track_beat_secs", options.track_beat_secs, 1, 60);
            // Each is a call of the day's for every cell.
            report.within("keywords", options.keywords.len(), 0, 4);
            report.within("categories", options.categories.len(), 0, 4);
            if options.keywords.is_empty() && options.categories.is_empty() {
                report.refuse("keywords", "must have one, or `categories` must");
            }
            let url = options.kakao_url.parse::<url::Url>().ok();
            if !url.is_some_and(|url| ["http", "https"].contains(&url.scheme())) {
                report.refuse("kakao_url", "must be an address of http or https");
            }
            if mode == Mode::Production && !options.kakao_url.starts_with("https://") {
                report.refuse("kakao_url", "must be an https address");
            }
        })
    }
}
