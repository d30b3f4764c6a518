//! Photos: signed for one object, sent straight to storage, registered once, and gone when their owner says so.

use coreloop_image_api::v1::{FindImageRequest, FindImageResponse};
use coreloop_testkit::{TestMesh, rpc, run};
use futures::future::join_all;
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, Status};
use uuid::Uuid;

use super::stage::{
    MESH, Taken, announced, headers, listed, load, photo, place, plain, put, registered, rows_of, send, sent, told,
};

#[test]
fn a_photo_goes_straight_to_storage_and_is_registered_once() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bottle) = (mesh.persona("alice").await, photo("bottle.jpg"));
        let place = alice.post("/api/v1/images/presigned-url", &announced(bottle)).await.expect(200);
        let (key, me) = (place["object_key"].as_str().unwrap(), alice.user_id.as_str());
        let parts: Vec<&str> = key.split('/').collect();
        assert_eq!((parts.len(), parts[0], parts[3], key.ends_with(".jpg")), (5, "uploads", me, true), "{key}");
        let signed =
            [("Cache-Control", "public,max-age=3600"), ("Content-Type", "image/jpeg"), ("x-amz-meta-user-id", me)];
        let mut told_headers = headers(&place);
        told_headers.sort();
        assert_eq!(told_headers, signed.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let name = format!("image:pending:{key}");
        let life: i64 = redis::cmd("TTL").arg(&name).query_async(&mut mesh.redis.connect().await).await.unwrap();
        assert!((1..=900).contains(&life), "{life}");

        registered(&alice, &place, "\"0\"").await.refused(404, "UPLOAD_NOT_FOUND");
        let etag = sent(&place, bottle).await;
        let image = plain(&registered(&alice, &place, &etag).await.expect(200)["image"]);
        assert_eq!((&image["object_key"], &image["mime_type"]), (&json!(key), &json!("image/jpeg")));
        assert_eq!((&image["gps"]["lat"], &image["shooted_at"]), (&json!(37.5665), &json!("2026-11-22T03:04:05Z")));
        assert_eq!(image["content_length"], bottle.bytes.len());

        // Again, by the other path and the address that people load it from: the same image, told once.
        let again = json!({"cdn_url": place["cdn_url"], "etag": etag.trim_matches('"')});
        assert_eq!(plain(&alice.post("/api/v1/images/register", &again).await.expect(200)["image"]), image);
        let id = image["image_id"].as_str().unwrap();
        let seen = alice.get(&format!("/api/v1/image/{id}")).await.expect(200);
        // There is no scan in this mesh: what it would say is not known.
        assert_eq!(plain(&seen["image"]), image);
        assert_eq!((&seen["analysis"], &seen["analysis_stale"]), (&Value::Null, &json!(true)));
        assert_eq!(told(mesh, "registered", &alice).await, 1);
        assert_eq!(mesh.db.count(&format!("select count(*) from image.events where aggregate_id = '{id}'")).await, 1);
        // Where they were, and with what, is told to nobody.
        for table in ["outbox", "events"] {
            let personal = format!("select count(*) from image.{table} where payload::text ~ '37.5665|phone-1'");
            assert_eq!(mesh.db.count(&personal).await, 0, "{table}");
        }
        assert_eq!(load(place["get_url"].as_str().unwrap()).await.body, bottle.bytes);
    });
}

#[test]
fn people_load_a_photo_without_a_signature_from_the_cdn_alone() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::by(&alice, "bottle.jpg").await;
        let shown = load(taken.image["cdn_url"].as_str().unwrap()).await;
        assert_eq!((shown.status.as_u16(), shown.header("content-type")), (200, "image/jpeg"));
        assert_eq!(shown.header("cache-control"), "public,max-age=3600");
        assert_eq!(shown.body, photo("bottle.jpg").bytes);
        let (bare, _) = taken.loadable().split_once('?').unwrap();
        assert_eq!(load(bare).await.status, 403, "storage itself shows nothing to whoever does not sign");
        alice.delete(&taken.path()).await.expect(200);
        taken.is_gone(mesh).await;
        assert_eq!(load(taken.image["cdn_url"].as_str().unwrap()).await.status, 404);
    });
}

#[test]
fn storage_takes_nothing_but_what_was_signed() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bottle) = (mesh.persona("alice").await, photo("bottle.jpg"));
        let place = place(&alice, bottle).await;
        let url = place["upload_url"].as_str().unwrap();
        let with = |changed: &str, value: &str| -> Vec<(String, String)> {
            let pairs = headers(&place).into_iter();
            pairs.map(|(name, kept)| if name == changed { (name, value.to_owned()) } else { (name, kept) }).collect()
        };
        let other = Uuid::new_v4().to_string();
        let elsewhere = url.replace("/uploads/", "/elsewhere/");
        for (what, url, headers, bytes) in [
            ("another type", url, with("Content-Type", "image/png"), bottle.bytes),
            ("another owner", url, with("x-amz-meta-user-id", &other), bottle.bytes),
            ("fewer bytes", url, headers(&place), &bottle.bytes[1..]),
            ("another object", elsewhere.as_str(), headers(&place), bottle.bytes),
        ] {
            assert_eq!(put(url, &headers, bytes).await.status, 403, "{what}");
        }
        registered(&alice, &place, "\"0\"").await.refused(404, "UPLOAD_NOT_FOUND");
        assert_eq!(send(&place, bottle.bytes).await.status, 200);
    });
}

#[test]
fn what_is_not_as_announced_is_refused_and_leaves_nothing() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, eve, can) = (mesh.persona("alice").await, mesh.persona("eve").await, photo("can.png"));
        let place = place(&alice, can).await;
        let etag = sent(&place, can).await;
        registered(&alice, &place, "\"d41d8cd98f00b204e9800998ecf8427e\"").await.refused(400, "ETAG_MISMATCH");
        for body in [
            json!({"etag": etag}),
            json!({"object_key": place["object_key"]}),
            json!({"object_key": place["object_key"], "cdn_url": "https://elsewhere.example/a.png", "etag": etag}),
        ] {
            alice.post("/api/v1/image/callback", &body).await.refused(400, "VALIDATION_FAILED");
        }
        let key = place["object_key"].as_str().unwrap();
        let upload = |object_key: &str| json!({"object_key": object_key, "etag": etag});
        for named in [
            upload("uploads"),
            upload("uploads/2026/11/../../etc/passwd"),
            json!({"cdn_url": "http://x/y", "etag": etag}),
        ] {
            alice.post("/api/v1/image/callback", &named).await.refused(404, "UPLOAD_NOT_FOUND");
        }
        assert_eq!(rows_of(mesh, &alice).await, 0);
        // Somebody else's is none: by its key or address, and by a key of one's own that has its id, before and after.
        let theirs = upload(&key.replace(&alice.user_id, &eve.user_id));
        for registers in [false, true] {
            if registers {
                registered(&alice, &place, &etag).await.expect(200);
            }
            registered(&eve, &place, &etag).await.refused(404, "UPLOAD_NOT_FOUND");
            let by_address = json!({"cdn_url": place["cdn_url"], "etag": etag});
            for body in [&by_address, &theirs] {
                eve.post("/api/v1/image/callback", body).await.refused(404, "UPLOAD_NOT_FOUND");
            }
        }
        registered(&alice, &place, "\"0\"").await.refused(400, "ETAG_MISMATCH");
        let renamed = upload(&key.replace(".png", ".jpg"));
        alice.post("/api/v1/image/callback", &renamed).await.refused(404, "UPLOAD_NOT_FOUND");
        assert_eq!((rows_of(mesh, &alice).await, rows_of(mesh, &eve).await), (1, 0));
    });
}

/// What Redis forgot of an upload is not known of the image; all else is.
#[test]
fn an_upload_that_was_forgotten_is_registered_without_what_the_app_said_of_it() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, jar) = (mesh.persona("alice").await, photo("jar.webp"));
        let place = place(&alice, jar).await;
        let etag = sent(&place, jar).await;
        let name = format!("image:pending:{}", place["object_key"].as_str().unwrap());
        let gone: i64 = redis::cmd("DEL").arg(&name).query_async(&mut mesh.redis.connect().await).await.unwrap();
        assert_eq!(gone, 1);
        let image = registered(&alice, &place, &etag).await.expect(200)["image"].clone();
        assert_eq!((&image["gps"], &image["shooted_at"]), (&Value::Null, &Value::Null));
        assert_eq!(image["content_length"], jar.bytes.len());
    });
}

#[test]
fn of_many_who_register_one_upload_one_does() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, jar) = (mesh.persona("alice").await, photo("jar.webp"));
        let place = place(&alice, jar).await;
        let etag = sent(&place, jar).await;
        let fronts: Vec<_> = (0..2).map(|replica| alice.at(&mesh.gateway_on(replica))).collect();
        let all = join_all((0..16).map(|number| registered(&fronts[number % 2], &place, &etag))).await;
        let ids: Vec<_> = all.iter().map(|answer| answer.expect(200)["image"]["image_id"].clone()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(told(mesh, "registered", &alice).await, 1);
    });
}

#[test]
fn a_photo_is_its_owners_and_goes_when_they_say_so() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, eve) = (mesh.persona("alice").await, mesh.persona("eve").await);
        let (first, second) = (Taken::by(&alice, "box.jpg").await, Taken::by(&alice, "can.png").await);
        let page = alice.get("/api/v1/image?page_size=1").await.expect(200);
        assert_eq!((plain(&page["images"][0]), &page["images"][1]), (second.image.clone(), &Value::Null));
        let token = page["next_page_token"].as_str().unwrap();
        let next = alice.get(&format!("/api/v1/image?page_size=1&page_token={token}")).await.expect(200);
        assert_eq!((plain(&next["images"][0]), &next["images"][1]), (first.image.clone(), &Value::Null));
        assert_eq!(next["next_page_token"], "");
        alice.get("/api/v1/image?page_token=x").await.refused(400, "PAGE_TOKEN_INVALID");
        assert_eq!(eve.get("/api/v1/image").await.expect(200)["images"], json!([]));

        eve.get(&second.path()).await.refused(404, "IMAGE_NOT_FOUND");
        eve.delete(&second.path()).await.refused(404, "IMAGE_NOT_FOUND");
        alice.delete(&second.path()).await.expect(200);
        alice.delete(&second.path()).await.refused(404, "IMAGE_NOT_FOUND");
        alice.get(&second.path()).await.refused(404, "IMAGE_NOT_FOUND");
        second.is_gone(mesh).await;
        assert_eq!(listed(&alice).await, std::slice::from_ref(&first.image));
        assert_eq!(told(mesh, "deleted", &alice).await, 1);
        assert_eq!(load(first.loadable()).await.status, 200);
        // Its place is signed for a while yet; what is sent there is no image.
        let etag = sent(&second.place, photo("can.png")).await;
        registered(&alice, &second.place, &etag).await.refused(404, "UPLOAD_NOT_FOUND");
        assert_eq!(told(mesh, "registered", &alice).await, 2);
    });
}

async fn found(mesh: &TestMesh, image: &str) -> Result<FindImageResponse, Status> {
    let bearer = format!("Bearer {}", mesh.machine_token("scan", "image").await);
    let asked = FindImageRequest { image_id: image.to_owned() }.encode_to_vec();
    let path = "/coreloop.image.v1.ImageInternalService/FindImage";
    let answer = rpc::call(&mesh.grpc("image"), path, &asked, &[("authorization", &bearer)]).await?;
    Ok(FindImageResponse::decode(answer).expect("an answer of the contract"))
}

#[test]
fn services_find_an_image_but_not_where_its_owner_was() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::by(&alice, "bottle.jpg").await;
        let seen = found(mesh, taken.id()).await.unwrap();
        let image = seen.image.unwrap();
        assert_eq!((seen.user_id.as_str(), image.image_id.as_str()), (alice.user_id.as_str(), taken.id()));
        assert_eq!(image.gps, None);
        assert_eq!(load(&seen.get_url).await.body, photo("bottle.jpg").bytes);
        alice.delete(&taken.path()).await.expect(200);
        let none = found(mesh, taken.id()).await.unwrap_err();
        assert_eq!((none.code(), rpc::reason(&none).as_str()), (Code::NotFound, "IMAGE_NOT_FOUND"));
    });
}
