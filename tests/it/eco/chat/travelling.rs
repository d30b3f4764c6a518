//! Something is said about a photo, through Envoy: one trace, from the request to the word that it is answered.

use coreloop_testkit::run;
use serde_json::json;

use super::stage::{Talk, mesh, text};
use crate::{eco::stage::Taken, journeys::economy::whole};

#[test]
fn what_is_said_and_its_answer_are_one_trace() {
    run(async {
        let mesh = mesh().envoy().otlp().start().await;
        let alice = mesh.persona("alice").await;
        let (talk, taken) = (Talk::of(&alice).await, Taken::by(&alice, "bottle.jpg").await);
        let trace = "4bf92f3577b34da6a3ce929d0e0e4737";
        let said = json!({"image_id": taken.id(), "text": "And this?"});
        let call = alice.rest().post(&talk.path("/messages"), &said);
        let sent = call.header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01")).send().await.expect(202);
        let answer = talk.ended(&sent["answer"]).await;
        assert!(text(&answer).starts_with("The photo shows pet"), "{answer}");
        let steps = [
            "POST /api/v1/chat/conversations/{conversation_id}/messages",
            "chat.v1.ChatService/SendMessage",
            "image.v1.ImageInternalService/FindImage",
            "process cmd:chat.pipeline",
            "scan.v1.ScanInternalService/FindByImage",
            "character.v1.CharacterInternalService/GetOwned",
            "process events.chat.message_answered",
        ];
        let spans = whole(&mesh, trace, &steps).await;
        let of = |id: &[u8]| spans.iter().find(|it| it.span.span_id == id);
        let named = |name: &str| spans.iter().find(|it| it.span.name.contains(name)).expect("a span");
        // The model is asked, and its neighbours are, because of what was said.
        let said = named(steps[1]).span.span_id.clone();
        for step in &steps[3..] {
            let mut way = std::iter::successors(Some(named(step)), |it| of(&it.span.parent_span_id));
            assert!(way.any(|it| it.span.span_id == said), "{step}");
        }
        let told = format!("select count(*) from chat.outbox where trace_id = '{trace}'");
        assert_eq!(mesh.db.count(&told).await, 3, "asked, the command, and answered");
    });
}
