//! Kakao Local (<https://developers.kakao.com/docs/latest/en/local/dev-guide>), over the three hundred invented shops of
//! `services/location/data/shops.csv`.
//!
//! * `GET /v2/local/search/keyword.json?query&x&y&radius&category_group_code&page&size&sort`: shops whose name, category or address has
//!   every word.
//! * `GET /v2/local/search/category.json?category_group_code&x&y&radius&page&size&sort`: shops of a group.
//! * `GET /v2/local/search/address.json?query&page&size`: addresses with every word.
//! * `GET /v2/local/geo/coord2address.json?x&y`: the address of the nearest shop within 300 m; none else.
//!
//! It is strict where Kakao is: `Authorization: KakaoAK {key}` (401), parameters that are missing or out of their range (400,
//! `{"errorType", "message"}`), at most 15 documents a page and 45 in all; `x` is the longitude and every number of a document a text.
//! Faults as everywhere: provider `kakao_local`, endpoints `keyword`, `category`, `address` and `coord2address`; `quota` answers 429 as
//! Kakao does when the calls of the day are used up.

use std::sync::{Arc, LazyLock};

use axum::{
    Json, Router,
    extract::{Query, State as Shared},
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    fault::{self, At},
    state::State,
};

/// Documents that can be paged through, of however many there are.
const PAGEABLE: usize = 45;
/// Farthest radius, in metres.
const FARTHEST: f64 = 20_000.0;
/// How far the nearest shop may be whose address a place has, in metres.
const NEIGHBOUR: f64 = 300.0;
/// Groups of categories that Kakao has.
const GROUPS: [&str; 18] = [
    "MT1", "CS2", "PS3", "SC4", "AC5", "PK6", "OL7", "SW8", "BK9", "CT1", "AG2", "PO3", "AT4", "AD5", "FD6", "CE7",
    "HP8", "PM9",
];

struct Shop {
    id: &'static str,
    name: &'static str,
    group: &'static str,
    category: &'static str,
    phone: &'static str,
    address: &'static str,
    road: &'static str,
    lat: f64,
    lng: f64,
}

static SHOPS: LazyLock<Vec<Shop>> = LazyLock::new(|| {
    let lines = include_str!("../../../services/location/data/shops.csv").lines().skip(1);
    lines.filter_map(|line| shop(&line.split(',').collect::<Vec<_>>())).collect()
});

fn shop(row: &[&'static str]) -> Option<Shop> {
    let [id, name, group, category, phone, address, road, lat, lng, ..] = *row else { return None };
    Some(Shop { id, name, group, category, phone, address, road, lat: lat.parse().ok()?, lng: lng.parse().ok()? })
}

#[derive(Debug, Default, Deserialize)]
struct Asked {
    query: Option<String>,
    category_group_code: Option<String>,
    x: Option<String>,
    y: Option<String>,
    radius: Option<String>,
    page: Option<String>,
    size: Option<String>,
    sort: Option<String>,
}

/// A refusal in Kakao's words.
struct Refusal(StatusCode, &'static str, String);

impl Refusal {
    fn missing(name: &str) -> Self {
        Self(StatusCode::BAD_REQUEST, "MissingParameter", format!("{name} parameter required"))
    }

    fn invalid(what: &str) -> Self {
        Self(StatusCode::BAD_REQUEST, "InvalidArgument", what.to_owned())
    }
}

/// `/v2/local`.
pub(crate) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    let played = |endpoint: &'static str| {
        let state = Arc::clone(state);
        let at = At { provider: "kakao_local", endpoint };
        from_fn(move |request, next| fault::play(Arc::clone(&state), at, request, next))
    };
    Router::new()
        .route("/v2/local/search/keyword.json", get(keyword).layer(played("keyword")))
        .route("/v2/local/search/category.json", get(category).layer(played("category")))
        .route("/v2/local/search/address.json", get(address).layer(played("address")))
        .route("/v2/local/geo/coord2address.json", get(coord2address).layer(played("coord2address")))
}

async fn keyword(shared: Shared<Arc<State>>, headers: HeaderMap, asked: Query<Asked>) -> Response {
    answered(&shared.0, &headers, || {
        let query = required("query", asked.query.as_deref())?;
        let of = |shop: &Shop| {
            let group = asked.category_group_code.as_deref().is_none_or(|code| code == shop.group);
            group && has(query, &[shop.name, shop.category, shop.road, shop.address])
        };
        let mut found = found(&asked, of)?;
        let name = json!({"region": [], "keyword": query, "selected_region": ""});
        if let Some(meta) = found.get_mut("meta").and_then(Value::as_object_mut) {
            meta.insert("same_name".to_owned(), name);
        }
        Ok(found)
    })
}

async fn category(shared: Shared<Arc<State>>, headers: HeaderMap, asked: Query<Asked>) -> Response {
    answered(&shared.0, &headers, || {
        let code = required("category_group_code", asked.category_group_code.as_deref())?;
        if !GROUPS.contains(&code) {
            return Err(Refusal::invalid("category_group_code is invalid"));
        }
        for (name, value) in [("x", &asked.x), ("y", &asked.y), ("radius", &asked.radius)] {
            required(name, value.as_deref())?;
        }
        found(&asked, |shop| shop.group == code)
    })
}

async fn address(shared: Shared<Arc<State>>, headers: HeaderMap, asked: Query<Asked>) -> Response {
    answered(&shared.0, &headers, || {
        let query = required("query", asked.query.as_deref())?;
        let (page, size) = (number("page", &asked.page, 1, PAGEABLE)?, number("size", &asked.size, 10, 30)?);
        let known: Vec<&Shop> = SHOPS.iter().filter(|shop| has(query, &[shop.road, shop.address])).collect();
        let documents = known.iter().skip((page - 1) * size).take(size).map(|shop| {
            json!({
                "address_name": shop.address, "address_type": "REGION_ADDR", "x": shop.lng.to_string(), "y": shop.lat.to_string(),
                "address": lot(shop), "road_address": road(shop),
            })
        });
        let documents: Vec<Value> = documents.collect();
        Ok(json!({"meta": meta(known.len(), page, size), "documents": documents}))
    })
}

async fn coord2address(shared: Shared<Arc<State>>, headers: HeaderMap, asked: Query<Asked>) -> Response {
    answered(&shared.0, &headers, || {
        required("x", asked.x.as_deref())?;
        required("y", asked.y.as_deref())?;
        let place = place(&asked)?.ok_or_else(|| Refusal::missing("x"))?;
        let far = |shop: &&Shop| distance(place, shop);
        let nearest = SHOPS.iter().min_by(|one, other| far(one).total_cmp(&far(other)));
        let near = nearest.filter(|shop| far(shop) <= NEIGHBOUR);
        let documents: Vec<Value> =
            near.into_iter().map(|shop| json!({"address": lot(shop), "road_address": road(shop)})).collect();
        Ok(json!({"meta": {"total_count": documents.len()}, "documents": documents}))
    })
}

fn answered(state: &State, headers: &HeaderMap, answer: impl FnOnce() -> Result<Value, Refusal>) -> Response {
    let admitted = admit(state, headers).and_then(|()| answer());
    match admitted {
        Ok(found) => Json(found).into_response(),
        Err(Refusal(status, kind, message)) => {
            (status, Json(json!({"errorType": kind, "message": message}))).into_response()
        }
    }
}

fn admit(state: &State, headers: &HeaderMap) -> Result<(), Refusal> {
    let denied = |message: &str| Refusal(StatusCode::UNAUTHORIZED, "AccessDeniedError", message.to_owned());
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|value| value.strip_prefix("KakaoAK ")) {
        None => Err(denied("cannot find Authorization : KakaoAK header")),
        Some(key) if key == state.options.kakao_local_key => Ok(()),
        Some(_) => Err(denied("wrong appKey format")),
    }
}

/// A page of the shops that `wanted` admits, near the place that is asked for.
fn found(asked: &Asked, wanted: impl Fn(&Shop) -> bool) -> Result<Value, Refusal> {
    let (page, size) = (number("page", &asked.page, 1, PAGEABLE)?, number("size", &asked.size, 15, 15)?);
    let place = place(asked)?;
    let radius = match &asked.radius {
        None => None,
        Some(text) => {
            let radius = text.parse::<f64>().ok().filter(|radius| (0.0..=FARTHEST).contains(radius));
            Some(radius.ok_or_else(|| Refusal::invalid("radius must be between 0 and 20000"))?)
        }
    };
    let mut shops: Vec<(Option<f64>, &Shop)> =
        SHOPS.iter().filter(|shop| wanted(shop)).map(|shop| (place.map(|place| distance(place, shop)), shop)).collect();
    shops.retain(|(far, _)| far.zip(radius).is_none_or(|(far, radius)| far <= radius));
    match asked.sort.as_deref() {
        None | Some("accuracy") => {}
        Some("distance") if place.is_some() => {
            shops.sort_by(|(one, _), (other, _)| one.unwrap_or_default().total_cmp(&other.unwrap_or_default()));
        }
        Some("distance") => return Err(Refusal::missing("x")),
        Some(_) => return Err(Refusal::invalid("sort must be accuracy or distance")),
    }
    let pageable = shops.iter().take(PAGEABLE).skip((page - 1) * size).take(size);
    let documents: Vec<Value> = pageable.map(|(far, shop)| document(*far, shop)).collect();
    Ok(json!({"meta": meta(shops.len(), page, size), "documents": documents}))
}

fn document(far: Option<f64>, shop: &Shop) -> Value {
    let group_name = match shop.group {
        "MT1" => "대형마트",
        "CE7" => "카페",
        _ => "",
    };
    json!({
        "id": shop.id,
        "place_name": shop.name,
        "category_name": shop.category,
        "category_group_code": shop.group,
        "category_group_name": group_name,
        "phone": shop.phone,
        "address_name": shop.address,
        "road_address_name": shop.road,
        "x": shop.lng.to_string(),
        "y": shop.lat.to_string(),
        "place_url": format!("http://place.map.kakao.com/{}", shop.id),
        "distance": far.map(|far| format!("{far:.0}")).unwrap_or_default(),
    })
}

fn lot(shop: &Shop) -> Value {
    let mut parts = shop.address.split(' ');
    let (first, second, number) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
    let (main, sub) = number.split_once('-').unwrap_or((number, ""));
    json!({
        "address_name": shop.address, "region_1depth_name": first, "region_2depth_name": second, "region_3depth_name": "",
        "mountain_yn": "N", "main_address_no": main, "sub_address_no": sub, "zip_code": "",
    })
}

fn road(shop: &Shop) -> Value {
    let mut parts = shop.road.split(' ');
    let (first, second, road, number) = (parts.next(), parts.next(), parts.next(), parts.next());
    json!({
        "address_name": shop.road, "region_1depth_name": first, "region_2depth_name": second, "region_3depth_name": "",
        "road_name": road, "underground_yn": "N", "main_building_no": number, "sub_building_no": "", "building_name": "",
        "zone_no": "00000",
    })
}

fn meta(total: usize, page: usize, size: usize) -> Value {
    let pageable = total.min(PAGEABLE);
    json!({"total_count": total, "pageable_count": pageable, "is_end": page * size >= pageable})
}

fn has(query: &str, texts: &[&str]) -> bool {
    let query = query.to_lowercase();
    let mut words = query.split_whitespace();
    words.all(|word| texts.iter().any(|text| text.to_lowercase().contains(word)))
}

fn required<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, Refusal> {
    value.filter(|value| !value.trim().is_empty()).ok_or_else(|| Refusal::missing(name))
}

/// Latitude and longitude, where both are given.
fn place(asked: &Asked) -> Result<Option<(f64, f64)>, Refusal> {
    let (Some(x), Some(y)) = (&asked.x, &asked.y) else { return Ok(None) };
    let (lng, lat) = (x.parse().ok(), y.parse().ok());
    let lng = lng.filter(|lng| (-180.0..=180.0).contains(lng)).ok_or_else(|| Refusal::invalid("x is invalid"))?;
    let lat = lat.filter(|lat| (-90.0..=90.0).contains(lat)).ok_or_else(|| Refusal::invalid("y is invalid"))?;
    Ok(Some((lat, lng)))
}

fn number(name: &str, text: &Option<String>, usual: usize, most: usize) -> Result<usize, Refusal> {
    let Some(text) = text else { return Ok(usual) };
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| Refusal::invalid(&format!("{name} must be between 1 and {most}")))
}

/// In metres; good enough for one town.
fn distance((lat, lng): (f64, f64), shop: &Shop) -> f64 {
    let up = (shop.lat - lat).to_radians();
    let along = (shop.lng - lng).to_radians() * ((shop.lat + lat) / 2.0).to_radians().cos();
    6_371_008.8 * up.hypot(along)
}
