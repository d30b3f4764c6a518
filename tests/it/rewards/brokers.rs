//! What the READMEs of shop, rewards and ops say of a mesh whose events and commands have brokers of their own, while those are away
//! (O3): everything works, and what is to be told and asked waits for them.

use std::{sync::Arc, time::Duration};

use coreloop_core::{Ids as _, id::SystemIds};
use coreloop_eventing::{
    Brokers, Topic,
    bus::{Bus as _, Start, Subscription},
};
use coreloop_eventing_kafka::{KafkaBus, Options as KafkaOptions};
use coreloop_eventing_rabbitmq::{Options as RabbitOptions, RabbitBus};
use coreloop_rewards_api::v1::{GrantRequest, GrantState, RewardKind};
use coreloop_testkit::{
    Fault, FaultProxy, Persona, TestKafka, TestMesh, TestRabbit, run,
    wait::{wait_for, wait_until},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    away::{Scene, hasty, pending},
    stage::{LONG, admin, given, points},
};
use crate::{
    ops::away::{act, acts, is_audited},
    shop::away::{all_told, untold, written},
};

/// What was published is read to its end: the ids of the events of a type, in any order.
async fn published(kafka: &KafkaBus, domain: &str, event: &str) -> Vec<String> {
    let topic = Topic::named(domain, event);
    let group = format!("{event}-{}", Uuid::new_v4());
    let subscription = Subscription { group, topics: vec![topic], start: Start::Earliest, token: SystemIds.uuid() };
    let reader = kafka.subscribe(subscription).await.unwrap();
    let mut ids = Vec::new();
    wait_for("there is no more", LONG, async || {
        let given = reader.next(100).await.unwrap();
        ids.extend(given.iter().map(|one| one.event.as_ref().unwrap().id.to_string()));
        // A reader that has been given nothing yet does not know of how much.
        (given.is_empty() && !ids.is_empty()).then_some(())
    })
    .await;
    ids.sort();
    ids
}

async fn buy(who: &Persona, product: &str, handle: &str) -> Value {
    let mut body = json!({"product_id": product, "idempotency_key": Uuid::new_v4()});
    if !handle.is_empty() {
        body["payment_handle"] = json!(handle);
    }
    who.post("/api/shop/purchase", &body).await.expect(200)["status"].clone()
}

/// Events over `kafka`, commands over what is behind `way`, under names of their own.
fn carried(kafka: &TestKafka, way: &FaultProxy) -> (Arc<KafkaBus>, Brokers) {
    let prefix = format!("{}.", Uuid::new_v4().simple());
    let events = KafkaOptions { servers: kafka.servers(), prefix: prefix.clone(), ..KafkaOptions::default() };
    let events = KafkaOptions { partitions: 1, timeout_ms: 5_000, session_timeout_ms: 6_000, ..events };
    let events = Arc::new(KafkaBus::new(&events, Duration::from_secs(86_400)));
    // Far longer than anybody who redeems is kept waiting.
    let url = format!("amqp://guest:guest@{}/%2f", way.address()).into();
    let commands =
        RabbitBus::new(&RabbitOptions { url, prefix, lanes: 2, timeout_ms: 60_000, ..RabbitOptions::default() });
    (Arc::clone(&events), Brokers { events: Some(events), commands: Some(Arc::new(commands)) })
}

/// A command that no broker took once, and that names no redemption.
const LETTER: &str = r#"
    insert into rewards.held_events
        (consumer, id, topic, key, envelope, payload, state, failures, reason, error, held_at, due_at)
    values ('rewards.relay', gen_random_uuid(), 'cmd:rewards.issue', 'odd',
            '{"aggregatetype": "cmd", "aggregateid": "odd", "type": "rewards.issue", "trace_id": "", "traceparent": "",
              "request_id": "", "version": 1}',
            convert_to('{"idempotency_key": "0192f0c4-7f5e-7000-8000-000000000001",
                         "payload": {"redemption_id": "0192f0c4-7f5e-7000-8000-000000000002"}}', 'UTF8'),
            'dead', 1, 'UNSENDABLE', 'it was too large', now(), now())"#;

/// Letters that were sent after all.
const SENT: &str = "select count(*) from rewards.held_events where reason = 'REDEMPTION_NOT_FOUND'";

/// Ops looks after dead letters and checks; what is tried again waits, and so does the act.
async fn ops_goes_on(mesh: &TestMesh, admin: &Persona) {
    mesh.db.execute(LETTER).await;
    let letters = admin.get("/admin/dlq/rewards.relay").await.expect(200);
    assert_eq!(letters["dead_letters"][0]["reason"], "UNSENDABLE", "{letters}");
    let again = json!({"queue": "rewards.relay", "count": 1});
    assert_eq!(admin.post("/admin/dlq/reprocess", &again).await.expect(200)["reprocessed"], 1);
    let asked = admin.post("/admin/maintenance/integrity-check", &json!({})).await.expect(202);
    let run = format!("/admin/maintenance/runs/{}", asked["runs"][0]["id"].as_str().unwrap());
    wait_until("a check is made", LONG, async || admin.get(&run).await.expect(200)["run"]["state"] == "RUN_STATE_DONE")
        .await;
    act(admin, 4).await;
    assert_eq!((mesh.db.count(SENT).await, acts(mesh).await), (0, 1));
}

#[test]
fn without_kafka_and_rabbitmq_everything_works_and_what_is_to_be_told_and_asked_waits() {
    run(async {
        let (kafka, rabbit) = tokio::join!(TestKafka::start(), TestRabbit::shared());
        let way = FaultProxy::before(rabbit.address()).await;
        let (events, brokers) = carried(&kafka, &way);
        let mesh = hasty().setting("eventing.events", "kafka").setting("eventing.commands", "rabbitmq").over(brokers);
        let mut scene = Scene::of(mesh.start().await).await;
        let admin = admin(&scene.mesh).await;
        let gold = GrantRequest { kind: RewardKind::Gold.into(), ..points(&scene.alice.user_id, 80) };
        given(&scene.scan, 0, &gold).await;
        for schema in ["rewards", "shop", "wallet"] {
            all_told(&scene.mesh, schema).await;
        }
        act(&admin, 3).await;
        is_audited(&scene.mesh, 1).await;
        // They say nothing any more, and then the one is not even there.
        kafka.freeze();
        way.set(Fault::Pause);
        let path = format!("/v1/rewards/{}/redeem", scene.sku());
        let redeeming = scene.alice.rest().post(&path, &json!({"idempotency_key": "k"}));
        // The gateway would give up, long before the broker is.
        let id = pending(&redeeming.send().await);
        way.set(Fault::Cut);
        assert_eq!(scene.grant().await.unwrap(), GrantState::Granted);
        scene.claim().await.expect(200);
        scene.click(&scene.shown().await).await.expect(200);
        for (product, handle) in [("spins-5", ""), ("gold-500", "card")] {
            assert_eq!(buy(&scene.alice, product, handle).await, "PURCHASE_STATE_CONFIRMED");
        }
        scene.mesh.rest().get("/api/shop/catalog").send().await.expect(200);
        assert_eq!(scene.read().await[0]["state"], "REDEMPTION_STATE_PENDING");
        for schema in ["rewards", "shop", "wallet"] {
            assert!(untold(&scene.mesh, schema).await > 0, "what {schema} has to tell waits");
        }
        ops_goes_on(&scene.mesh, &admin).await;
        kafka.thaw();
        way.heal();
        scene.has_ended(&id, scene.mesh.stand_ins.as_ref().unwrap()).await;
        is_audited(&scene.mesh, 2).await;
        // The relay looks for letters once a minute, and when it begins.
        scene.mesh.node_mut(0, "rewards").stop().await;
        scene.mesh.node_mut(0, "rewards").start().await;
        wait_until("the letter was sent", LONG, async || scene.mesh.db.count(SENT).await == 1).await;
        for (schema, event) in
            [("rewards", "granted"), ("rewards", "redemption_issued"), ("shop", "purchase_completed")]
        {
            all_told(&scene.mesh, schema).await;
            let told = published(&events, schema, event).await;
            assert_eq!(told, written(&scene.mesh, schema, event).await, "{event}");
        }
    });
}
