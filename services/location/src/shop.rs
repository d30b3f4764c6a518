//! A shop, and what is said of it.

use std::collections::HashMap;

use coreloop_location_api::v1::{self, CrowdLevel};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{Options, globe::Point, store::shops::Ours};

/// Who knows the shops that a provider found.
pub const KAKAO: &str = "KAKAO";
/// And those that are kept here for when it does not answer.
pub const FALLBACK: &str = "FALLBACK";

/// A shop, as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shop {
    /// Made of its provider and what that calls it.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// What it is, in the provider's words.
    pub category: String,
    /// Phone; may be empty.
    pub phone: String,
    /// Address by lot; may be empty.
    pub address: String,
    /// Address by road; may be empty.
    pub road_address: String,
    /// A page about it; may be empty.
    pub url: String,
    /// Degrees, on the globe.
    pub lat: f64,
    /// Degrees, on the globe.
    pub lng: f64,
    /// As [`crate::hours`] reads it; empty: not known.
    pub hours: String,
    /// What it is good for.
    pub tags: Vec<String>,
}

/// A shop as the provider knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// What the provider calls it.
    pub provider_id: String,
    /// What is said of it; hours and tags are ours.
    pub shop: Shop,
}

/// Shops that a provider found, with what only we know of those that we knew.
#[must_use]
pub fn completed(places: Vec<Place>, ours: Vec<Ours>) -> Vec<Shop> {
    let mut ours: HashMap<Uuid, Ours> = ours.into_iter().map(|ours| (ours.id, ours)).collect();
    let complete = |Place { shop, .. }: Place| match ours.remove(&shop.id) {
        Some(Ours { hours, tags, .. }) => Shop { hours, tags, ..shop },
        None => shop,
    };
    places.into_iter().map(complete).collect()
}

/// The id of a shop: whoever sees it first gives it the one that everybody else would.
#[must_use]
pub fn id_of(provider: &str, provider_id: &str) -> Uuid {
    let digest = Sha256::digest(format!("location.shop:{provider}:{provider_id}"));
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest.iter()).for_each(|(byte, of)| *byte = *of);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl Shop {
    /// Where it is.
    #[must_use]
    pub fn place(&self) -> Point {
        Point { lat: self.lat, lng: self.lng }
    }

    /// As the contract has it.
    #[must_use]
    pub fn told(&self) -> v1::Shop {
        v1::Shop {
            shop_id: self.id.to_string(),
            name: self.name.clone(),
            category: self.category.clone(),
            phone: self.phone.clone(),
            address: self.address.clone(),
            road_address: self.road_address.clone(),
            url: self.url.clone(),
            lat: self.lat,
            lng: self.lng,
            tags: self.tags.clone(),
        }
    }
}

/// How crowded a shop is in which so many people checked in of late; none: it cannot be told.
#[must_use]
pub fn crowd(visitors: Option<i64>, options: &Options) -> CrowdLevel {
    match visitors {
        None => CrowdLevel::Unknown,
        Some(many) if many >= i64::from(options.crowd_busy) => CrowdLevel::Busy,
        Some(some) if some >= i64::from(options.crowd_normal) => CrowdLevel::Normal,
        Some(_) => CrowdLevel::Quiet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hours::Hours;

    const CSV: &str = include_str!("../data/shops.csv");
    const SEEDED: &str = include_str!("../migrations/0003_seeded.sql");

    #[test]
    fn the_seeded_shops_are_those_of_the_file() {
        let rows: Vec<Vec<&str>> = CSV.lines().skip(1).map(|line| line.split(',').collect()).collect();
        assert_eq!(rows.len(), 300);
        for row in &rows {
            let [id, name, _group, category, phone, address, road, lat, lng, hours, tags] = row[..] else {
                panic!("{row:?}")
            };
            let line = format!(
                "    ('{}', '{id}', '{name}', '{category}', '{phone}', '{address}', '{road}', {lat}, {lng}, '{hours}', '{tags}')",
                id_of(KAKAO, id)
            );
            assert!(SEEDED.contains(&line), "{line}");
            assert!(hours.is_empty() || Hours::parse(hours).is_some(), "{hours}");
            let place = Point::new(lat.parse().unwrap(), lng.parse().unwrap()).unwrap();
            assert!(place.distance_m(Point { lat: 37.5665, lng: 126.978 }) < 25_000.0, "{name} is in Seoul");
        }
        assert_eq!(SEEDED.matches("    ('").count(), 300);
    }

    #[test]
    fn a_shop_has_one_id_whoever_sees_it_first() {
        assert_eq!(id_of(KAKAO, "99000000001").to_string(), "f84b5c00-8046-8d74-970d-96ee9eb54302");
        assert_ne!(id_of(KAKAO, "1"), id_of("OTHER", "1"));
    }

    #[test]
    fn crowds_are_told_by_the_settings() {
        let options = Options { crowd_normal: 3, crowd_busy: 10, ..Options::default() };
        let levels = [None, Some(0), Some(2), Some(3), Some(9), Some(10)].map(|visitors| crowd(visitors, &options));
        use CrowdLevel as L;
        assert_eq!(levels, [L::Unknown, L::Quiet, L::Quiet, L::Normal, L::Normal, L::Busy]);
    }
}
