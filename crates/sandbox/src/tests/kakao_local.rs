//! Kakao Local's wire, as its guide has it.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Played;
use crate::Options;

/// City hall of Seoul.
const HERE: &str = "x=126.978&y=37.5665";

async fn asked(played: &Played, path: &str) -> (StatusCode, Value) {
    let key = format!("KakaoAK {}", Options::default().kakao_local_key);
    let asked = played.http.get(format!("{}{path}", played.base)).header("authorization", key);
    let response = asked.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

async fn found(played: &Played, path: &str) -> Value {
    let (status, body) = asked(played, path).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

#[tokio::test]
async fn a_document_has_what_kakaos_has_and_every_number_is_a_text() {
    let played = Played::start().await;
    let path = format!("/v2/local/search/keyword.json?query=제로웨이스트&{HERE}&radius=5000&sort=distance&size=3");
    let answer = found(&played, &path).await;
    let documents = answer["documents"].as_array().unwrap();
    assert_eq!(documents.len(), 3);
    let mut names: Vec<&str> = documents[0].as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let all = [
        "address_name",
        "category_group_code",
        "category_group_name",
        "category_name",
        "distance",
        "id",
        "phone",
        "place_name",
        "place_url",
        "road_address_name",
        "x",
        "y",
    ];
    assert_eq!(names, all);
    assert!(
        documents.iter().all(|document| document.as_object().unwrap().values().all(Value::is_string)),
        "{documents:?}"
    );
    let far: Vec<u32> = documents.iter().map(|one| one["distance"].as_str().unwrap().parse().unwrap()).collect();
    assert!(far.is_sorted() && far[2] <= 5_000, "{far:?}");
    let lng: f64 = documents[0]["x"].as_str().unwrap().parse().unwrap();
    assert!((126.0..128.0).contains(&lng), "x is the longitude");
    assert_eq!(answer["meta"]["same_name"]["keyword"], "제로웨이스트");
}

#[tokio::test]
async fn pages_end_after_forty_five() {
    let played = Played::start().await;
    let page = async |page: u32| {
        let path =
            format!("/v2/local/search/keyword.json?query=제로웨이스트&{HERE}&radius=20000&sort=distance&page={page}");
        found(&played, &path).await
    };
    let (first, third, fourth) = (page(1).await, page(3).await, page(4).await);
    assert_eq!(first["meta"]["pageable_count"], 45);
    assert!(first["meta"]["total_count"].as_u64().unwrap() > 45, "{}", first["meta"]);
    assert_eq!((&first["meta"]["is_end"], &third["meta"]["is_end"]), (&json!(false), &json!(true)));
    assert_eq!((first["documents"].as_array().unwrap().len(), fourth["documents"].as_array().unwrap().len()), (15, 0));
}

#[tokio::test]
async fn a_group_is_searched_around_a_place() {
    let played = Played::start().await;
    let path = format!("/v2/local/search/category.json?category_group_code=MT1&{HERE}&radius=20000&sort=distance");
    let answer = found(&played, &path).await;
    assert!(
        answer["documents"].as_array().unwrap().iter().all(|shop| shop["category_group_code"] == "MT1"),
        "{answer}"
    );
    let sea = "/v2/local/search/category.json?category_group_code=MT1&x=125&y=35&radius=20000";
    assert_eq!(found(&played, sea).await["documents"], json!([]));
}

#[tokio::test]
async fn addresses_are_found_both_ways() {
    let played = Played::start().await;
    let words = "/v2/local/search/address.json?query=강남구 물레길 132";
    let answer = found(&played, words).await;
    let one = &answer["documents"][0];
    assert_eq!(
        (&one["address_name"], &one["road_address"]["address_name"]),
        (&json!("서울 강남구 16-7"), &json!("서울 강남구 물레길 132"))
    );
    let at =
        format!("/v2/local/geo/coord2address.json?x={}&y={}", one["x"].as_str().unwrap(), one["y"].as_str().unwrap());
    assert_eq!(found(&played, &at).await["documents"][0]["address"]["address_name"], "서울 강남구 16-7");
    assert_eq!(found(&played, "/v2/local/geo/coord2address.json?x=125&y=35").await["documents"], json!([]));
}

#[tokio::test]
async fn what_kakao_refuses_is_refused_in_its_words() {
    let played = Played::start().await;
    for path in [
        "/v2/local/search/keyword.json",
        "/v2/local/search/keyword.json?query=",
        "/v2/local/search/keyword.json?query=a&size=16",
        "/v2/local/search/keyword.json?query=a&page=46",
        "/v2/local/search/keyword.json?query=a&x=181&y=1",
        "/v2/local/search/keyword.json?query=a&sort=distance",
        "/v2/local/search/keyword.json?query=a&x=1&y=1&radius=20001",
        "/v2/local/search/category.json?category_group_code=XX1&x=1&y=1&radius=1",
        "/v2/local/search/category.json?category_group_code=MT1",
        "/v2/local/geo/coord2address.json?x=1",
    ] {
        let (status, body) = asked(&played, path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {body}");
        assert!(body["errorType"].is_string() && body["message"].is_string(), "{body}");
    }
    let open = "/v2/local/search/keyword.json?query=a";
    let nobody = played.get(open).await;
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    let wrong = played
        .http
        .get(format!("{}{open}", played.base))
        .header("authorization", "KakaoAK other")
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(wrong.json::<Value>().await.unwrap()["errorType"], "AccessDeniedError");
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_429_in_its_words() {
    let played = Played::start().await;
    played.post("/_sandbox/faults", json!({"provider": "kakao_local", "kind": "quota", "times": 1})).await;
    found(&played, "/v2/local/search/keyword.json?query=a").await;
    let (status, body) = asked(&played, "/v2/local/search/keyword.json?query=a").await;
    assert_eq!((status, &body["errorType"]), (StatusCode::TOO_MANY_REQUESTS, &json!("RequestThrottled")));
}
