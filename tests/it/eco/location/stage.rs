//! Shops of the file, people, and a provider that can be made to fail.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use coreloop_location::{
    globe::Point,
    shop::{KAKAO, id_of},
};
use coreloop_testkit::{Answer, Persona, Rest, Shared, TestMesh, mesh::Builder};
use serde_json::{Value, json};

/// For what goes by events that a busy machine may try twice.
pub const LONG: Duration = Duration::from_secs(60);
/// City hall of Seoul: within two kilometres the provider has on one page all that there is.
pub const HALL: Point = Point { lat: 37.5665, lng: 126.978 };
/// Another place of which that holds.
pub const NOWON: Point = Point { lat: 37.6542, lng: 127.0568 };
/// Where no shop is.
pub const SEA: Point = Point { lat: 35.0, lng: 125.0 };

/// Two replicas that the tests of this folder share: each test has people and places of its own, and none makes the provider fail.
pub static MESH: Shared<TestMesh> = Shared::new(|| Box::pin(mesh().split().replicas(2).start()));

/// A mesh with locations. On a busy machine everything may answer late, and is not away for that.
pub fn mesh() -> Builder {
    let mesh = TestMesh::builder().modules(&["location"]).stand_ins().setting("limit.enabled", false);
    let mesh =
        mesh.setting("location.redis_timeout_ms", 10_000_i64).setting("location.database_timeout_ms", 20_000_i64);
    // Of the process and of the service: the shorter counts.
    let mesh = mesh.setting("redis.response_timeout_ms", 10_000_i64);
    mesh.setting("location.kakao_timeout_ms", 10_000_i64).toml("[eventing]\nretry_delays_secs = [1, 1, 1]\n")
}

/// A shop of the file.
#[derive(Debug)]
pub struct Shop {
    /// Its id here.
    pub id: String,
    /// Name.
    pub name: &'static str,
    /// What the provider says it is.
    pub category: &'static str,
    /// Its group there.
    pub group: &'static str,
    /// Where it is.
    pub place: Point,
    /// When it is open; empty: nobody knows.
    pub hours: &'static str,
}

impl Shop {
    /// Found by the keyword or the category of the settings.
    pub fn is_searched(&self) -> bool {
        self.category.contains("제로웨이스트") || self.group == "MT1"
    }
}

/// All of them.
pub static SHOPS: LazyLock<Vec<Shop>> = LazyLock::new(|| {
    let lines = include_str!("../../../../services/location/data/shops.csv").lines().skip(1);
    let shop = |line: &'static str| {
        let [id, name, group, category, _, _, _, lat, lng, hours, _] = line.split(',').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let place = Point { lat: lat.parse().unwrap(), lng: lng.parse().unwrap() };
        Shop { id: id_of(KAKAO, id).to_string(), name, category, group, place, hours }
    };
    lines.map(shop).collect()
});

/// A shop that the provider finds, whose hours are these.
pub fn open(hours: &str) -> &'static Shop {
    SHOPS.iter().find(|shop| shop.is_searched() && shop.hours == hours).expect("a shop with these hours")
}

/// Ids of the shops that there are within so many metres, the nearest first.
pub fn there(place: Point, radius_m: f64, wanted: fn(&Shop) -> bool) -> Vec<&'static str> {
    let near = SHOPS.iter().filter(|shop| wanted(shop)).map(|shop| (place.distance_m(shop.place), shop.id.as_str()));
    let mut near: Vec<_> = near.filter(|(far, _)| *far <= radius_m).collect();
    near.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    near.into_iter().map(|(_, id)| id).collect()
}

/// Path that asks for the shops around a place.
pub fn path(place: Point, radius_m: u32) -> String {
    format!("/api/v1/location/shops?lat={}&lng={}&radius={radius_m}", place.lat, place.lng)
}

/// The shops around a place, as anybody is told.
pub async fn around(rest: &Rest, place: Point, radius_m: u32) -> Value {
    rest.get(&path(place, radius_m)).send().await.expect(200)
}

/// Ids of an answer, in its order.
pub fn ids(answer: &Value) -> Vec<&str> {
    let shops = answer["shops"].as_array().unwrap_or_else(|| panic!("no shops in {answer}"));
    shops.iter().map(|one| one["shop"]["shop_id"].as_str().unwrap()).collect()
}

/// Somebody at a place says that they are at a shop.
pub async fn visit(who: &Persona, shop: &str, place: Point) -> Answer {
    who.post("/api/v1/location/visits", &json!({"shop_id": shop, "lat": place.lat, "lng": place.lng})).await
}

/// A text as it stands in a query.
pub fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// So many metres north of a place.
pub fn north(place: Point, metres: f64) -> Point {
    Point { lat: place.lat + metres / 111_195.08, ..place }
}

/// How often the provider was asked, by endpoint; endpoints that were not are left out.
pub async fn asked(mesh: &TestMesh) -> BTreeMap<&'static str, u64> {
    let stand_ins = mesh.stand_ins.as_ref().expect("stand-ins");
    let mut asked = BTreeMap::new();
    for endpoint in ["keyword", "category", "address", "coord2address"] {
        let requests = stand_ins.requests(&format!("kakao_local/{endpoint}")).await;
        if requests > 0 {
            asked.insert(endpoint, requests);
        }
    }
    asked
}

/// Switches a fault of the provider on.
pub async fn fault(mesh: &TestMesh, change: Value) {
    let mut fault = json!({"provider": "kakao_local"});
    for (name, value) in change.as_object().expect("a fault") {
        fault[name] = value.clone();
    }
    mesh.stand_ins.as_ref().expect("stand-ins").fault(&fault).await;
}

/// Switches every fault off.
pub async fn mended(mesh: &TestMesh) {
    mesh.stand_ins.as_ref().expect("stand-ins").rest().delete("/_sandbox/faults").send().await;
}

/// A line of the metrics of the first replica.
pub fn counts(mesh: &TestMesh, line: &str) -> bool {
    mesh.node(0, "location").running().metrics.encode().lines().any(|counted| counted == line)
}

/// Facts that were told of somebody's visits.
pub async fn told(mesh: &TestMesh, who: &Persona) -> i64 {
    let of = format!("aggregatetype = 'location' and type = 'visited' and aggregateid = '{}'", who.user_id);
    mesh.db.count(&format!("select count(*) from location.outbox where {of}")).await
}
