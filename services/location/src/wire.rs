//! What Kakao Local answers (<https://developers.kakao.com/docs/latest/en/local/dev-guide>), believed as little as possible: `x` is the
//! longitude, numbers are texts, and what is on no place of the globe, has no name or cannot be kept is left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    globe::Point,
    shop::{KAKAO, Place, Shop, id_of},
};

/// Longest text that is kept, in letters.
const LONGEST: usize = 200;

/// Places that a search found.
#[derive(Debug, Deserialize)]
pub struct Found {
    documents: Vec<Document>,
}

#[derive(Debug, Deserialize)]
struct Document {
    id: String,
    place_name: String,
    #[serde(default)]
    category_name: String,
    #[serde(default)]
    phone: String,
    #[serde(default)]
    address_name: String,
    #[serde(default)]
    road_address_name: String,
    #[serde(default)]
    place_url: String,
    x: String,
    y: String,
}

/// The places of several searches, each once, where it came first.
#[must_use]
pub fn places(found: Vec<Found>) -> Vec<Place> {
    let mut seen = BTreeMap::new();
    let documents = found.into_iter().flat_map(|found| found.documents);
    let mut places = Vec::new();
    for place in documents.filter_map(Document::place) {
        if seen.insert(place.shop.id, ()).is_none() {
            places.push(place);
        }
    }
    places
}

impl Document {
    fn place(self) -> Option<Place> {
        let Point { lat, lng } = point(&self.x, &self.y)?;
        let (provider_id, name) = (text(&self.id), text(&self.place_name));
        if provider_id.is_empty() || name.is_empty() {
            return None;
        }
        let url = text(&self.place_url);
        let shop = Shop {
            id: id_of(KAKAO, &provider_id),
            name,
            category: text(&self.category_name),
            phone: text(&self.phone),
            address: text(&self.address_name),
            road_address: text(&self.road_address_name),
            // Shown as a link.
            url: if url.starts_with("http://") || url.starts_with("https://") { url } else { String::new() },
            lat,
            lng,
            hours: String::new(),
            tags: Vec::new(),
        };
        Some(Place { provider_id, shop })
    }
}

/// What an address may stand for.
#[derive(Debug, Deserialize)]
pub struct Addresses {
    documents: Vec<Addressed>,
}

#[derive(Debug, Deserialize)]
struct Addressed {
    address_name: String,
    #[serde(default)]
    road_address: Option<Named>,
    x: String,
    y: String,
}

#[derive(Debug, Deserialize)]
struct Named {
    #[serde(default)]
    address_name: String,
}

/// An address and where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Address {
    /// By lot where there is one.
    pub address: String,
    /// By road; may be empty.
    pub road_address: String,
    /// Where.
    pub place: Point,
}

impl Addresses {
    /// Those that make sense.
    #[must_use]
    pub fn read(self) -> Vec<Address> {
        let read = |one: Addressed| {
            let place = point(&one.x, &one.y)?;
            Some(Address { address: text(&one.address_name), road_address: named(one.road_address.as_ref()), place })
        };
        self.documents.into_iter().filter_map(read).collect()
    }
}

/// The addresses of a place.
#[derive(Debug, Deserialize)]
pub struct AddressesOf {
    documents: Vec<Both>,
}

#[derive(Debug, Deserialize)]
struct Both {
    #[serde(default)]
    address: Option<Named>,
    #[serde(default)]
    road_address: Option<Named>,
}

impl AddressesOf {
    /// The first.
    #[must_use]
    pub fn read(self, place: Point) -> Option<Address> {
        let both = self.documents.into_iter().next()?;
        Some(Address { address: named(both.address.as_ref()), road_address: named(both.road_address.as_ref()), place })
    }
}

fn named(name: Option<&Named>) -> String {
    name.map(|name| text(&name.address_name)).unwrap_or_default()
}

fn point(x: &str, y: &str) -> Option<Point> {
    Point::new(y.parse().ok()?, x.parse().ok()?)
}

/// What can be kept and shown of a text.
fn text(said: &str) -> String {
    said.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn document(id: &str, x: &str, y: &str) -> Value {
        json!({"id": id, "place_name": "빈그릇", "category_name": "생활용품", "category_group_code": "", "phone": "02-000-0001",
               "address_name": "서울 마포구 1-2", "road_address_name": "", "x": x, "y": y,
               "place_url": "http://place.map.kakao.com/1", "distance": "418"})
    }

    fn found(documents: Value) -> Found {
        serde_json::from_value(json!({"meta": {"total_count": 1, "is_end": true}, "documents": documents})).unwrap()
    }

    #[test]
    fn x_is_the_longitude_and_a_shop_that_two_searches_found_is_one() {
        let one = document("1", "126.9014", "37.5663");
        let places = places(vec![found(json!([one, document("2", "126.9", "37.5")])), found(json!([one]))]);
        assert_eq!(places.len(), 2);
        assert_eq!((places[0].shop.lat, places[0].shop.lng), (37.5663, 126.9014));
        assert_eq!(
            (places[0].provider_id.as_str(), places[0].shop.url.as_str()),
            ("1", "http://place.map.kakao.com/1")
        );
    }

    #[test]
    fn what_makes_no_sense_is_left_out_and_the_others_stay() {
        let mut script = document("5", "126.9", "37.5");
        script["place_url"] = json!("javascript:alert(1)");
        script["place_name"] = json!(format!("\u{0}{}", "가".repeat(300)));
        let mut nameless = document("6", "126.9", "37.5");
        nameless["place_name"] = json!(" ");
        let odd = json!([
            document("1", "37.5663", "126.9014"),
            document("2", "", ""),
            document("3", "NaN", "37.5"),
            document("4", "1e400", "37.5"),
            document("", "126.9", "37.5"),
            nameless,
            script,
        ]);
        let places = places(vec![found(odd)]);
        assert_eq!(places.len(), 1);
        assert_eq!((places[0].shop.name.chars().count(), places[0].shop.url.as_str()), (LONGEST, ""));
        assert!(serde_json::from_value::<Found>(json!({"documents": [{"id": 7}]})).is_err());
        assert!(serde_json::from_value::<Found>(json!({"errorType": "x", "message": "y"})).is_err());
    }

    #[test]
    fn addresses_are_read_of_both_answers() {
        let named = json!({"address_name": "서울 중구 세종대로 110"});
        let addresses: Addresses = serde_json::from_value(json!({"documents": [
            {"address_name": "서울 중구 태평로1가 31", "address_type": "REGION_ADDR", "x": "126.978", "y": "37.5665", "road_address": named},
            {"address_name": "nowhere", "x": "x", "y": "y", "road_address": null},
        ]}))
        .unwrap();
        let read = addresses.read();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].road_address, "서울 중구 세종대로 110");
        let place = Point { lat: 37.5665, lng: 126.978 };
        let of: AddressesOf =
            serde_json::from_value(json!({"documents": [{"address": named, "road_address": null}]})).unwrap();
        assert_eq!(of.read(place).unwrap().address, "서울 중구 세종대로 110");
        let none: AddressesOf = serde_json::from_value(json!({"meta": {"total_count": 0}, "documents": []})).unwrap();
        assert_eq!(none.read(place), None);
    }
}
