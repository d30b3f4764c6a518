//! Smaller copies of photos: made once, upright, of what was registered; told; set right when something fails; gone with their image.

use coreloop_sandbox::Photo;
use coreloop_testkit::{Persona, Product, TestMesh, run, wait::wait_for, wait_until};
use futures::future::join_all;
use image::ImageFormat;
use serde_json::{Value, json};

use super::stage::{LONG, MESH, Taken, copy, load, mesh, photo, place, registered, send, sent, told};

/// No picture at all.
static NOISE: Photo =
    Photo { name: "noise.jpg", mime_type: "image/jpeg", bytes: b"this is no photo", category: "", sure: false };
/// Of a format of which there are no copies.
static HEIC: Photo =
    Photo { name: "phone.heic", mime_type: "image/heic", bytes: b"ftypheic and so on", category: "", sure: false };

/// An image, as soon as its copies are so far.
async fn processed(who: &Persona, taken: &Taken, wanted: &str) -> Value {
    wait_for(format!("{} is {wanted}", taken.path()), LONG, async || {
        let seen = who.get(&taken.path()).await.expect(200)["image"].clone();
        (seen["thumbnail_state"] == format!("THUMBNAIL_STATE_{wanted}")).then_some(seen)
    })
    .await
}

/// What was told of the copies of somebody's photos, with that failure.
async fn told_of(mesh: &TestMesh, who: &Persona, failure: &str) -> i64 {
    let of = format!("type = 'processed' and aggregateid = '{}' and payload ->> 'failure' = '{failure}'", who.user_id);
    mesh.db.count(&format!("select count(*) from image.outbox where {of}")).await
}

/// Commands of an image that were set aside.
async fn held(mesh: &TestMesh, taken: &Taken) -> i64 {
    let of = format!("consumer = 'image.process' and key = '{}'", taken.id());
    mesh.db.count(&format!("select count(*) from image.held_events where {of}")).await
}

#[test]
fn a_photo_has_smaller_copies_a_moment_later() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        for name in ["bottle.jpg", "can.png", "jar.webp"] {
            let taken = Taken::by(&alice, name).await;
            let seen = processed(&alice, &taken, "DONE").await;
            let whole = image::load_from_memory(photo(name).bytes).unwrap();
            assert_eq!(seen["thumbnails"].as_array().unwrap().len(), 2, "{seen}");
            for (thumbnail, px) in seen["thumbnails"].as_array().unwrap().iter().zip([256, 1_024]) {
                assert_eq!(thumbnail["max_px"], px);
                assert!(thumbnail["url"].as_str().unwrap().ends_with(&format!("/{}/{px}.jpg", taken.id())), "{seen}");
                let loaded = copy(mesh, &seen, px).await;
                assert_eq!((loaded.status.as_u16(), loaded.header("content-type")), (200, "image/jpeg"));
                let shown = load(thumbnail["url"].as_str().unwrap()).await;
                assert_eq!(
                    (shown.status.as_u16(), &shown.body),
                    (200, &loaded.body),
                    "anybody loads it from its address"
                );
                let picture = image::load_from_memory_with_format(&loaded.body, ImageFormat::Jpeg).unwrap();
                let longest = whole.width().max(whole.height()).min(px);
                assert_eq!(picture.width().max(picture.height()), longest, "{name}, {px}");
            }
        }
        assert_eq!((told(mesh, "processed", &alice).await, told_of(mesh, &alice, "").await), (3, 3));
        let page = alice.get("/api/v1/image").await.expect(200);
        assert_eq!(page["images"][0]["thumbnails"][1]["max_px"], 1_024, "{page}");
    });
}

/// A JPEG that says that the camera was turned, so that it is to be shown turned to the right.
fn turned(photo: &Photo) -> &'static Photo {
    let tiff = [b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0];
    let said = [b"\xff\xe1\x00\x22Exif\0\0".as_slice(), &tiff].concat();
    let bytes = [&photo.bytes[..2], said.as_slice(), &photo.bytes[2..]].concat();
    Box::leak(Box::new(Photo { name: "turned.jpg", bytes: bytes.leak(), ..*photo }))
}

#[test]
fn a_copy_is_upright() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::of(&alice, turned(photo("bottle.jpg"))).await;
        let seen = processed(&alice, &taken, "DONE").await;
        let shown = image::load_from_memory(&copy(mesh, &seen, 1_024).await.body).unwrap();
        let whole = image::load_from_memory(photo("bottle.jpg").bytes).unwrap();
        assert!(whole.width() > whole.height(), "it lies on its side");
        assert_eq!((shown.width(), shown.height()), (whole.height(), whole.width()));
    });
}

#[test]
fn what_is_no_picture_has_none_and_is_not_tried_again() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let (noise, heic) = (Taken::of(&alice, &NOISE).await, Taken::of(&alice, &HEIC).await);
        let failed = processed(&alice, &noise, "FAILED").await;
        let unsupported = processed(&alice, &heic, "UNSUPPORTED").await;
        for seen in [&failed, &unsupported] {
            assert_eq!(seen["thumbnails"], json!([]));
            assert_eq!(copy(mesh, seen, 256).await.status, 404);
        }
        assert_eq!((held(mesh, &noise).await, held(mesh, &heic).await), (0, 0));
        assert_eq!((told_of(mesh, &alice, "UNREADABLE").await, told_of(mesh, &alice, "UNSUPPORTED").await), (1, 1));
        // Whoever comes after it is served.
        let after = Taken::by(&alice, "box.jpg").await;
        processed(&alice, &after, "DONE").await;
    });
}

/// Its place is signed for a while: another content than the one that was registered is not shown as that.
#[test]
fn copies_are_of_what_was_registered() {
    run(async {
        let mesh = mesh().start().await;
        let stand_ins = mesh.stand_ins.as_ref().unwrap();
        let alice = mesh.persona("alice").await;
        let place = place(&alice, photo("box.jpg")).await;
        let etag = sent(&place, photo("box.jpg")).await;
        // Nothing can be loaded until there is another content.
        stand_ins.fault(&json!({"provider": "s3", "endpoint": "get", "kind": "error", "status": 503})).await;
        let image = registered(&alice, &place, &etag).await.expect(200)["image"].clone();
        let other: &'static [u8] = photo("box.jpg").bytes.iter().rev().copied().collect::<Vec<u8>>().leak();
        assert_eq!(send(&place, other).await.status, 200);
        stand_ins.rest().delete("/_sandbox/faults").send().await;
        let taken = Taken { place, image };
        processed(&alice, &taken, "FAILED").await;
        // It may have been tried to the end before the fault was over.
        let gone = told_of(&mesh, &alice, "CONTENT_GONE").await;
        assert_eq!(gone + told_of(&mesh, &alice, "STORAGE_UNAVAILABLE").await, 1);
    });
}

#[test]
fn copies_go_with_their_image() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::by(&alice, "can.png").await;
        let seen = processed(&alice, &taken, "DONE").await;
        assert_eq!(copy(mesh, &seen, 256).await.status, 200);
        alice.delete(&taken.path()).await.expect(200);
        taken.is_gone(mesh).await;
        for px in [256, 1_024] {
            assert_eq!(copy(mesh, &seen, px).await.status, 404, "{px}");
        }
    });
}

#[test]
fn a_photo_that_is_removed_while_its_copies_are_made_leaves_none() {
    run(async {
        let mesh = mesh().start().await;
        let stand_ins = mesh.stand_ins.as_ref().unwrap();
        let alice = mesh.persona("alice").await;
        let place = place(&alice, photo("can.png")).await;
        let etag = sent(&place, photo("can.png")).await;
        stand_ins
            .fault(&json!({"provider": "s3", "endpoint": "put", "kind": "latency", "ms": 15_000, "times": 1}))
            .await;
        let before = stand_ins.requests("s3/put").await;
        let image = registered(&alice, &place, &etag).await.expect(200)["image"].clone();
        let taken = Taken { place, image };
        wait_until("a copy is put", LONG, async || stand_ins.requests("s3/put").await > before).await;
        alice.delete(&taken.path()).await.expect(200);
        taken.is_gone(&mesh).await;
        let done = format!(
            "select count(*) from image.processed_events where idempotency_key = 'image.process:{}'",
            taken.id()
        );
        wait_until("the command is done", LONG, async || mesh.db.count(&done).await == 1).await;
        for px in [256, 1_024] {
            assert_eq!(copy(&mesh, &taken.image, px).await.status, 404, "{px}");
        }
        assert_eq!(told(&mesh, "processed", &alice).await, 0);
    });
}

#[test]
fn whoever_is_killed_while_copies_are_put_makes_them_again() {
    run(async {
        let mut mesh = mesh().split().setting("eventing.standby_ms", 100_i64).start().await;
        let storage = mesh.stand_ins.as_ref().unwrap().storage_settings();
        let own = format!("[eventing]\nretry_delays_secs = [1, 1, 1]\nstandby_ms = 100\n[image]\n{storage}");
        let mut product = Product::instead(&mut mesh, &["image"], &own).await;
        let stand_ins = mesh.stand_ins.as_ref().unwrap();
        let alice = mesh.persona("alice").await;
        let place = place(&alice, photo("can.png")).await;
        let etag = sent(&place, photo("can.png")).await;
        stand_ins
            .fault(&json!({"provider": "s3", "endpoint": "put", "kind": "latency", "ms": 120_000, "times": 1}))
            .await;
        let before = stand_ins.requests("s3/put").await;
        let image = registered(&alice, &place, &etag).await.expect(200)["image"].clone();
        let taken = Taken { place, image };
        wait_until("a copy is put", LONG, async || stand_ins.requests("s3/put").await > before).await;
        product.kill();
        product.start().await;
        processed(&alice, &taken, "DONE").await;
        for px in [256, 1_024] {
            assert_eq!(copy(&mesh, &taken.image, px).await.status, 200, "{px}");
        }
        assert_eq!(told_of(&mesh, &alice, "").await, 1);
    });
}

#[test]
fn storage_that_is_away_costs_a_photo_its_copies_until_somebody_looks_after_them() {
    run(async {
        let mesh = mesh().modules(&["auth", "image", "ops"]).start().await;
        let stand_ins = mesh.stand_ins.as_ref().unwrap();
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        stand_ins.fault(&json!({"provider": "s3", "endpoint": "get", "kind": "error", "status": 503})).await;
        let taken = Taken::by(&alice, "jar.webp").await;
        processed(&alice, &taken, "FAILED").await;
        let letters = admin.get("/admin/dlq/image.process").await.expect(200)["dead_letters"].clone();
        assert_eq!((&letters[0]["reason"], &letters[1]), (&json!("STORAGE_UNAVAILABLE"), &Value::Null), "{letters}");
        assert!(!letters.to_string().contains("X-Amz"), "{letters}");
        stand_ins.rest().delete("/_sandbox/faults").send().await;
        let again = json!({"queue": "image.process", "count": 1});
        assert_eq!(admin.post("/admin/dlq/reprocess", &again).await.expect(200)["reprocessed"], 1);
        processed(&alice, &taken, "DONE").await;
        let told = (told_of(&mesh, &alice, "STORAGE_UNAVAILABLE").await, told_of(&mesh, &alice, "").await);
        assert_eq!(told, (1, 1));
    });
}

/// One at a time is on its way, and whoever ends one sends the next; what was forgotten or never sent is found.
#[test]
fn what_there_is_no_room_for_waits_and_what_was_lost_is_sent_again() {
    run(async {
        let mesh = mesh().setting("image.thumbnails_ahead", 1_i64).setting("image.sweep_secs", 1_i64).start().await;
        let alice = mesh.persona("alice").await;
        let names = ["bottle.jpg", "can.png", "jar.webp", "box.jpg", "night.jpg", "wall.webp"];
        let taken = join_all(names.map(|name| Taken::by(&alice, name))).await;
        for taken in &taken {
            processed(&alice, taken, "DONE").await;
        }
        assert_eq!(told_of(&mesh, &alice, "").await, 6);
        for (taken, sent) in taken.iter().zip(["now() - interval '3 hours'", "null"]) {
            let id = taken.id();
            let lost = format!(
                "with known as (delete from image.processed_events where idempotency_key = 'image.process:{id}')
                 update image.images set thumbnails = 1, thumbnails_sent_at = {sent} where id = '{id}'"
            );
            mesh.db.execute(&lost).await;
            processed(&alice, taken, "DONE").await;
        }
        assert_eq!(told_of(&mesh, &alice, "").await, 8);
    });
}
