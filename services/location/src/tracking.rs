//! Live maps: what somebody who moves is told of the shops around.
//!
//! A map is loaded for a place and half a kilometre more than asked, and serves until its owner has gone four hundred metres, or it
//! is five minutes old: who walks through a hundred cells of the grid costs the provider two searches and not a hundred. All that a fix
//! needs beside is arithmetic. A map that is loaded counts as a search of its owner ([`SEARCH`]): else who says that they are elsewhere
//! twice a second would use up the provider's day.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coreloop_core::{Problem, UserId};
use coreloop_limit::Subject;
use coreloop_location_api::v1::{LocationReason, NearbyShop, OpenState, ShopDistance};
use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    App, Error,
    globe::{Point, metres},
    hours,
    kakao::FARTHEST_M,
    nearby::{self, Around, Seen},
    shop::FALLBACK,
};

/// What loading a map counts as, in the limits of its owner.
pub const SEARCH: &str = "/coreloop.location.v1.LocationService/ListShops";
/// A map is loaded so much wider than asked, and serves until somebody has gone so far.
const WIDER_M: u32 = 500;
const GONE_M: f64 = 400.0;
/// A map is loaded anew after this; one of shops that are kept here sooner, for the provider may be back.
const OLD: Duration = Duration::from_secs(300);
const OLD_FALLBACK: Duration = Duration::from_secs(30);
/// Shops whose distance is told.
const MOST: usize = 30;

/// Live maps that are open in this process, by user. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tracks(Arc<Open>);

#[derive(Debug)]
struct Open {
    by_user: Mutex<HashMap<UserId, u32>>,
    most: u32,
    gauge: Gauge,
}

impl Tracks {
    /// None yet; each user may have `most`.
    #[must_use]
    pub fn new(most: u32, gauge: Gauge) -> Self {
        Self(Arc::new(Open { by_user: Mutex::default(), most, gauge }))
    }

    /// A place for one of a user, given back when it is dropped.
    ///
    /// # Errors
    /// `TOO_MANY_TRACKS`.
    pub fn open(&self, user: UserId) -> Result<Seat, Error> {
        let mut by_user = self.0.lock();
        let open = by_user.entry(user).or_default();
        if *open >= self.0.most {
            return Err(LocationReason::TooManyTracks.into());
        }
        *open += 1;
        self.0.gauge.inc();
        Ok(Seat { user, of: self.clone() })
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, u32>> {
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a live map.
#[derive(Debug)]
pub struct Seat {
    user: UserId,
    of: Tracks,
}

impl Seat {
    /// Whose.
    #[must_use]
    pub fn user(&self) -> UserId {
        self.user
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_user = self.of.0.lock();
        if let Some(open) = by_user.get_mut(&self.user) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                by_user.remove(&self.user);
            }
        }
        self.of.0.gauge.dec();
    }
}

/// What somebody sees around.
#[derive(Debug)]
pub struct Map {
    owner: UserId,
    loaded: Option<Loaded>,
    /// What is in reach, as it was told last.
    inside: BTreeMap<Uuid, OpenState>,
}

#[derive(Debug)]
struct Loaded {
    center: Point,
    radius_m: u32,
    around: Around,
    at: Instant,
}

/// What follows from where somebody is.
#[derive(Debug, Default)]
pub struct Step {
    /// Who knows the shops.
    pub source: String,
    /// Came into reach.
    pub entered: Vec<NearbyShop>,
    /// Left it.
    pub left: Vec<String>,
    /// In reach, the nearest first.
    pub distances: Vec<ShopDistance>,
    /// Something is not as it was told last.
    pub is_news: bool,
}

impl Map {
    /// Nothing yet.
    #[must_use]
    pub fn of(owner: UserId) -> Self {
        Self { owner, loaded: None, inside: BTreeMap::new() }
    }

    /// Where somebody is now; none where nothing is known of shops around.
    pub async fn step(&mut self, app: &Arc<App>, place: Point, radius_m: u32) -> Option<Step> {
        let now = Instant::now();
        if self.loaded.as_ref().is_none_or(|loaded| !loaded.serves(place, radius_m, now)) {
            match self.load(app, place, radius_m).await {
                Ok(around) => {
                    self.loaded = Some(Loaded { center: place, radius_m: wider(radius_m), around, at: now });
                }
                // What is there goes on serving, as long as it is of here.
                Err(error) => {
                    tracing::debug!(%error, "shops around a live map cannot be loaded");
                    self.loaded = self.loaded.take().filter(|loaded| loaded.covers(place, radius_m));
                }
            }
        }
        let loaded = self.loaded.as_ref()?;
        let (step, inside) = step(&loaded.around.seen_from(place, radius_m), &self.inside, app, app.clock.now());
        self.inside = inside;
        Some(Step { source: loaded.around.source.clone(), ..step })
    }

    /// The shops around a place, if its owner may search.
    async fn load(&self, app: &Arc<App>, place: Point, radius_m: u32) -> Result<Around, Error> {
        let owner = Subject { user: Some(self.owner), ..Subject::default() };
        app.limiter.check(SEARCH, &owner).await.map_err(Problem::from)?;
        nearby::around(app, place, wider(radius_m)).await
    }
}

impl Loaded {
    fn covers(&self, place: Point, radius_m: u32) -> bool {
        self.radius_m >= wider(radius_m) && self.center.distance_m(place) <= GONE_M
    }

    fn serves(&self, place: Point, radius_m: u32, now: Instant) -> bool {
        let old = if self.around.source == FALLBACK { OLD_FALLBACK } else { OLD };
        self.covers(place, radius_m) && now.duration_since(self.at) < old
    }
}

fn wider(radius_m: u32) -> u32 {
    (radius_m + WIDER_M).min(FARTHEST_M)
}

/// What changed between what was in reach and what is.
fn step(
    seen: &[Seen<'_>],
    before: &BTreeMap<Uuid, OpenState>,
    app: &App,
    now: Timestamp,
) -> (Step, BTreeMap<Uuid, OpenState>) {
    let states: BTreeMap<Uuid, OpenState> =
        seen.iter().map(|seen| (seen.known.shop.id, hours::state(&seen.known.shop.hours, now))).collect();
    let (entered, left) = changed(&states, before);
    let new = seen.iter().filter(|seen| entered.contains(&seen.known.shop.id));
    let distance = |seen: &Seen<'_>| ShopDistance {
        shop_id: seen.known.shop.id.to_string(),
        distance_m: metres(seen.distance_m),
        open_state: states.get(&seen.known.shop.id).copied().unwrap_or_default().into(),
    };
    let step = Step {
        source: String::new(),
        entered: new.map(|seen| seen.told(app, now)).collect(),
        left: left.iter().map(Uuid::to_string).collect(),
        distances: seen.iter().take(MOST).map(distance).collect(),
        is_news: states != *before,
    };
    (step, states)
}

/// Which came and which went.
fn changed(now: &BTreeMap<Uuid, OpenState>, before: &BTreeMap<Uuid, OpenState>) -> (BTreeSet<Uuid>, Vec<Uuid>) {
    let entered = now.keys().filter(|id| !before.contains_key(id)).copied().collect();
    let left = before.keys().filter(|id| !now.contains_key(id)).copied().collect();
    (entered, left)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn loaded(source: &str, radius_m: u32) -> Loaded {
        let around = Around { source: source.to_owned(), shops: Vec::new() };
        Loaded { center: Point { lat: 37.5, lng: 127.0 }, radius_m, around, at: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_map_serves_until_somebody_has_gone_too_far_or_it_is_old() {
        let map = loaded("KAKAO", 2_500);
        let (here, near, far) = (map.center, Point { lat: 37.503, lng: 127.0 }, Point { lat: 37.504, lng: 127.0 });
        let now = Instant::now();
        assert!(map.serves(here, 2_000, now) && map.serves(near, 2_000, now) && map.serves(near, 1, now));
        assert!(!map.serves(far, 2_000, now) && !map.serves(here, 2_001, now));
        assert!(!map.serves(here, 2_000, now + OLD));
        assert!(loaded("FALLBACK", 2_500).serves(here, 2_000, now));
        assert!(!loaded("FALLBACK", 2_500).serves(here, 2_000, now + OLD_FALLBACK));
        assert_eq!((wider(2_000), wider(20_000)), (2_500, 20_000));
    }

    #[test]
    fn a_user_has_so_many_at_once_and_gives_them_back() {
        let gauge = Gauge::default();
        let tracks = Tracks::new(2, gauge.clone());
        let (alice, bob) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let first = tracks.open(alice).unwrap();
        let _second = tracks.open(alice).unwrap();
        let refused = coreloop_core::Problem::from(tracks.open(alice).unwrap_err());
        assert_eq!((refused.reason(), gauge.get()), ("TOO_MANY_TRACKS", 2));
        assert!(tracks.open(bob).is_ok());
        drop(first);
        assert!(tracks.open(alice).is_ok());
        assert_eq!((gauge.get(), tracks.0.lock().len()), (1, 1));
    }

    fn some() -> impl Strategy<Value = BTreeMap<Uuid, OpenState>> {
        prop::collection::btree_map((0..6_u128).prop_map(Uuid::from_u128), Just(OpenState::Open), 0..6)
    }

    proptest! {
        #[test]
        fn who_applies_what_was_told_has_what_is_there(steps in prop::collection::vec(some(), 1..8)) {
            let (mut before, mut told) = (BTreeMap::new(), BTreeSet::new());
            for now in steps {
                let (entered, left) = changed(&now, &before);
                prop_assert!(left.iter().all(|id| told.remove(id)), "left without having entered");
                prop_assert!(entered.into_iter().all(|id| told.insert(id)), "entered twice");
                prop_assert_eq!(&told, &now.keys().copied().collect::<BTreeSet<_>>());
                before = now;
            }
        }
    }
}
