//! People with photos, and storage as an app sees it.

use std::time::Duration;

use coreloop_image::{Options, storage::Storage, thumbnails::key_of};
use coreloop_sandbox::{PHOTOS, Photo};
use coreloop_testkit::{Answer, Persona, Rest, Shared, TestMesh, mesh::Builder, wait_until};
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

/// For what goes by events that a busy machine may try twice.
pub const LONG: Duration = Duration::from_secs(60);

/// Two replicas that the tests of this folder share: each test has people of its own.
pub static MESH: Shared<TestMesh> = Shared::new(|| Box::pin(mesh().split().replicas(2).start()));

/// What stumbles is tried again soon, and people of tests ask faster than people.
pub fn mesh() -> Builder {
    let mesh = TestMesh::builder().modules(&["auth", "image"]).stand_ins();
    // What the app says of a photo waits in Redis, which is given time to answer.
    let mesh = mesh.setting("image.redis_timeout_ms", 10_000_i64).setting("redis.response_timeout_ms", 10_000_i64);
    mesh.setting("limit.enabled", false).toml("[eventing]\nretry_delays_secs = [1, 1, 1]\n")
}

/// A photo that is registered.
#[derive(Debug)]
pub struct Taken {
    /// Where it was sent to, with an address to load it from.
    pub place: Value,
    /// As it is kept, but for its smaller copies: they come when they come.
    pub image: Value,
}

impl Taken {
    /// A photo of `who`.
    pub async fn by(who: &Persona, name: &str) -> Self {
        Self::of(who, photo(name)).await
    }

    /// That photo.
    pub async fn of(who: &Persona, photo: &'static Photo) -> Self {
        let place = place(who, photo).await;
        let etag = sent(&place, photo).await;
        let image = plain(&registered(who, &place, &etag).await.expect(200)["image"]);
        Self { place, image }
    }

    /// Id of the image.
    pub fn id(&self) -> &str {
        self.image["image_id"].as_str().expect("an id")
    }

    /// Path of the image.
    pub fn path(&self) -> String {
        format!("/api/v1/image/{}", self.id())
    }

    /// Waits until there is neither row nor object.
    pub async fn is_gone(&self, mesh: &TestMesh) {
        let rows = format!("select count(*) from image.images where id = '{}'", self.id());
        wait_until(format!("the row of {} is gone", self.id()), LONG, async || mesh.db.count(&rows).await == 0).await;
        assert_eq!(load(self.loadable()).await.status, 404, "{}", self.loadable());
    }

    /// Where a worker loads it from.
    pub fn loadable(&self) -> &str {
        self.place["get_url"].as_str().expect("an address")
    }
}

/// An image as it was answered, but for its smaller copies.
pub fn plain(image: &Value) -> Value {
    let mut image = image.clone();
    for field in ["thumbnail_state", "thumbnails"] {
        assert!(image.as_object_mut().expect("an image").remove(field).is_some(), "{field}: {image}");
    }
    image
}

/// The images of somebody as they are listed, but for their smaller copies.
pub async fn listed(who: &Persona) -> Vec<Value> {
    let page = who.get("/api/v1/image").await.expect(200);
    page["images"].as_array().expect("images").iter().map(plain).collect()
}

/// A smaller copy, as storage has it.
pub async fn copy(mesh: &TestMesh, image: &Value, max_px: u32) -> Answer {
    let sandbox = coreloop_sandbox::Options::default();
    let options = Options {
        s3_endpoint: mesh.stand_ins.as_ref().expect("stand-ins").base().to_owned(),
        s3_access_key_id: sandbox.s3_access_key_id,
        s3_access_key_secret: Some(sandbox.s3_access_key_secret.into()),
        ..Options::default()
    };
    let now = Timestamp::from_second(mesh.now()).expect("a time");
    let key = key_of(image["object_key"].as_str().expect("a key"), max_px);
    load(Storage::of(&options).get(&key, now).expect("storage is set").expose()).await
}

/// The sample photo of that name.
pub fn photo(name: &str) -> &'static Photo {
    PHOTOS.iter().find(|photo| photo.name == name).expect("a sample photo")
}

/// What an app says of a photo that was taken in Seoul.
pub fn announced(photo: &Photo) -> Value {
    json!({
        "mime_type": photo.mime_type, "content_length": photo.bytes.len(), "device_id": "phone-1",
        "gps": {"lat": 37.5665, "lng": 126.978}, "shooted_at": "2026-11-22T03:04:05Z",
    })
}

/// A place for a photo, as `who` is told it.
pub async fn place(who: &Persona, photo: &Photo) -> Value {
    who.post("/api/v1/image/presigned", &announced(photo)).await.expect(200)
}

/// Sends a photo to its place, straight to storage; the `ETag` that storage answers.
pub async fn sent(place: &Value, photo: &'static Photo) -> String {
    let sent = send(place, photo.bytes).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    sent.header("etag").to_owned()
}

/// Sends bytes to a place with its headers, as an app does.
pub async fn send(place: &Value, bytes: &'static [u8]) -> Answer {
    put(place["upload_url"].as_str().expect("an address"), &headers(place), bytes).await
}

/// The headers that a PUT must have.
pub fn headers(place: &Value) -> Vec<(String, String)> {
    let headers = place["headers"].as_object().expect("headers");
    headers.iter().map(|(name, value)| (name.clone(), value.as_str().expect("a value").to_owned())).collect()
}

/// A PUT to an address outside of the mesh.
pub async fn put(url: &str, headers: &[(String, String)], bytes: &'static [u8]) -> Answer {
    let (base, path) = parted(url);
    let call = Rest::to(base).call(Method::PUT, path).body(bytes);
    headers.iter().fold(call, |call, (name, value)| call.header(name, value)).send().await
}

/// A GET of an address outside of the mesh.
pub async fn load(url: &str) -> Answer {
    let (base, path) = parted(url);
    Rest::to(base).get(path).send().await
}

fn parted(url: &str) -> (&str, &str) {
    let host = url.find("://").expect("an address") + 3;
    url.split_at(host + url[host..].find('/').expect("a path"))
}

/// Registers what was sent.
pub async fn registered(who: &Persona, place: &Value, etag: &str) -> Answer {
    who.post("/api/v1/image/callback", &json!({"object_key": place["object_key"], "etag": etag})).await
}

/// Images of somebody, marked ones too.
pub async fn rows_of(mesh: &TestMesh, who: &Persona) -> i64 {
    mesh.db.count(&format!("select count(*) from image.images where user_id = '{}'", who.user_id)).await
}

/// Facts of a kind that were told of somebody's images.
pub async fn told(mesh: &TestMesh, event: &str, who: &Persona) -> i64 {
    let of = format!("aggregatetype = 'image' and type = '{event}' and aggregateid = '{}'", who.user_id);
    mesh.db.count(&format!("select count(*) from image.outbox where {of}")).await
}
