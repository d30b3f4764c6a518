//! The story of chapter 02 through Envoy, as far as it is built: a photo is sent, registered, classified, and earns a character; one
//! trace, from the request to what became of the reward.

use coreloop_testkit::{run, wait_until};
use http::Method;
use serde_json::json;

use super::{
    character::stage::{mine, owned},
    scan::stage::{said_of, task},
    stage::{LONG, mesh, photo, place, sent},
};
use crate::journeys::economy::whole;

/// What must have a part in it, in the order in which they do.
const STEPS: [&str; 7] = [
    "POST /api/v1/image/callback",
    "image.v1.ImageService/RegisterImage",
    "process events.image.registered",
    "process cmd:scan.classify",
    "image.v1.ImageInternalService/FindImage",
    "process events.scan.completed",
    "process events.character.acquired",
];

/// Who must have heard what the others told.
const CONSUMERS: [&str; 3] = ["scan.facts", "character.grants", "character.views"];

#[test]
fn a_photo_becomes_a_character_in_one_trace() {
    run(async {
        let mesh = mesh().modules(&["character", "image", "scan"]).envoy().otlp().start().await;
        let (alice, bottle) = (mesh.persona("alice").await, photo("bottle.jpg"));
        assert_eq!(owned(&mine(&alice).await), Vec::<&str>::new());
        let place = place(&alice, bottle).await;
        let etag = sent(&place, bottle).await;
        let trace = "5cf92f3577b34da6a3ce929d0e0e4737";
        let call = alice.call(Method::POST, "/api/v1/image/callback");
        let call = call.header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
        let call = call.json(&json!({"object_key": place["object_key"], "etag": etag}));
        let image = call.send().await.expect(200)["image"]["image_id"].as_str().unwrap().to_owned();
        let done = task(&alice, &image, |task| task["reward_status"] == "REWARD_STATUS_GRANTED").await;
        assert_eq!(done["category"], "CATEGORY_PET");
        wait_until("she sees it", LONG, async || owned(&mine(&alice).await) == ["CHR005"]).await;
        let seen = alice.get(&format!("/api/v1/image/{image}")).await.expect(200);
        said_of(&seen["analysis"], &done);
        whole(&mesh, trace, &STEPS).await;
        let heard = |consumer: &str| {
            let spans = mesh.otlp.as_ref().unwrap().trace(trace);
            spans.iter().any(|it| format!("{:?}", it.span.attributes).contains(&format!("{consumer:?}")))
        };
        wait_until("all have heard of it in the trace", LONG, async || CONSUMERS.iter().all(|it| heard(it))).await;
        for (schema, kind) in [("image", "registered"), ("scan", "completed"), ("character", "acquired")] {
            let told = format!("select count(*) from {schema}.outbox where type = '{kind}' and trace_id = '{trace}'");
            assert_eq!(mesh.db.count(&told).await, 1, "{schema}.{kind}");
        }
    });
}
