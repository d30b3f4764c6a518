//! What the vision model says of a photo, and how.

use std::io::Cursor;

use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, Rgb, RgbImage};

use super::*;
use crate::PHOTOS;

const CATEGORIES: [&str; 13] = [
    "general",
    "paper",
    "paperpack",
    "plastic",
    "pet",
    "vinyl",
    "styrofoam",
    "glass",
    "can",
    "battery",
    "clothes",
    "electronics",
    "food",
];

fn data_url(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(bytes))
}

/// A picture of one colour in the middle and its opposite around.
fn picture([red, green, blue]: [u8; 3], format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(120, 90, |x, y| {
        let inside = (48..72).contains(&x) && (36..54).contains(&y);
        if inside { Rgb([red, green, blue]) } else { Rgb([255 - red, 255 - green, 255 - blue]) }
    });
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A hue at full saturation.
fn colour(hue: f64) -> [u8; 3] {
    let channel = |turn: f64| {
        let sixths = (turn + hue / 60.0) % 6.0;
        ((1.0 - sixths.min(4.0 - sixths).clamp(0.0, 1.0)) * 255.0).round() as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

async fn classify(played: &Played, image_url: &str) -> Response {
    let at = format!("{}/classify", played.base);
    let asked = json!({ "image_url": image_url, "user_input": "what is it?" });
    played.http.post(at).bearer_auth("sandbox-openai-key").json(&asked).send().await.unwrap()
}

async fn category(played: &Played, bytes: &[u8]) -> (String, f64) {
    let seen: Value = classify(played, &data_url(bytes)).await.json().await.unwrap();
    (seen["category"].as_str().unwrap().to_owned(), seen["confidence"].as_f64().unwrap())
}

#[tokio::test]
async fn each_sector_of_the_hue_circle_is_a_category_in_each_format() {
    let played = Played::start().await;
    for (place, name) in CATEGORIES.into_iter().enumerate() {
        let middle = colour((place as f64 + 0.5) * 360.0 / 13.0);
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let (seen, confidence) = category(&played, &picture(middle, format)).await;
            assert_eq!(seen, name, "{format:?}");
            assert!(confidence > 0.9, "{name} {confidence}");
        }
    }
    // Red begins the circle and ends it; a degree before the edge of a sector is another category than a degree after.
    for (hue, name) in [(0.0, "general"), (359.0, "food"), (26.7, "general"), (28.7, "paper")] {
        assert_eq!(category(&played, &picture(colour(hue), ImageFormat::Png)).await.0, name, "{hue}");
    }
}

#[tokio::test]
async fn what_has_no_colour_is_unsure_unknown_or_no_answer() {
    let played = Played::start().await;
    assert_eq!(category(&played, &picture([0, 0, 0], ImageFormat::Png)).await, ("general".into(), 0.3));
    assert_eq!(category(&played, &picture([128, 128, 128], ImageFormat::Png)).await, ("unknown".into(), 0.5));
    let white = classify(&played, &data_url(&picture([255, 255, 255], ImageFormat::Png))).await;
    assert_eq!(white.status(), StatusCode::OK);
    assert!(white.json::<Value>().await.is_err(), "a sentence");
    // What cannot be decoded is told by its SHA-256.
    assert_eq!(category(&played, b"no picture").await, (of_digest(b"no picture"), 0.8));
    let whole = picture(colour(200.0), ImageFormat::Png);
    let half = &whole[..whole.len() / 2];
    assert_eq!(category(&played, half).await, (of_digest(half), 0.8));
}

fn of_digest(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let first: [u8; 8] = digest.as_ref()[..8].try_into().unwrap();
    CATEGORIES[(u64::from_be_bytes(first) % 13) as usize].to_owned()
}

#[tokio::test]
async fn the_sample_photos_show_what_they_say() {
    let played = Played::start().await;
    for photo in PHOTOS {
        let (seen, confidence) = category(&played, photo.bytes).await;
        assert_eq!(seen, photo.category, "{}", photo.name);
        assert_eq!(confidence >= 0.6, photo.sure, "{} {confidence}", photo.name);
        assert!(photo.bytes.len() < 60 << 10, "{} has {} bytes", photo.name, photo.bytes.len());
        let format = image::guess_format(photo.bytes).unwrap();
        assert_eq!(format.to_mime_type(), photo.mime_type, "{}", photo.name);
    }
}

/// Serves `bytes` at an address.
async fn serve(bytes: Vec<u8>) -> String {
    let router = axum::Router::new().route("/photo", axum::routing::get(move || async move { bytes }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/photo", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test]
async fn the_photo_is_fetched_within_bounds() {
    let played = Played::start().await;
    let photo = serve(picture(colour(97.0), ImageFormat::Jpeg)).await;
    let seen: Value = classify(&played, &photo).await.json().await.unwrap();
    let whole = json!({
        "category": "plastic",
        "sub_category": "container",
        "confidence": seen["confidence"],
        "guidance": "Empty and rinse it, and take off the label.",
        "recyclable": true,
    });
    assert_eq!(seen, whole);
    let large = serve(vec![0; (20 << 20) + 1]).await;
    for (address, code) in [
        (photo.replace("/photo", "/another"), "invalid_image_url"),
        ("http://127.0.0.1:1/photo".to_owned(), "invalid_image_url"),
        ("file:///etc/passwd".to_owned(), "invalid_image_url"),
        ("data:image/png;base64,???".to_owned(), "invalid_base64_image_url"),
        (large, "image_too_large"),
    ] {
        let refused = classify(&played, &address).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{address}");
        let error: Value = refused.json().await.unwrap();
        assert_eq!((&error["error"]["code"], &error["error"]["param"]), (&json!(code), &json!("image_url")));
    }
}
