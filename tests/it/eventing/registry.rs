//! Events over a real Kafka, framed for a real Schema Registry.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};
use coreloop_eventing::{
    DeadLetters, Encoding, Error, Event, Filter, Parts, Topic,
    bus::{Batch, Bus, Mark, Start, Subscription},
};
use coreloop_eventing_kafka::{KafkaBus, Options};
use coreloop_facts::v1::AuthUserLoggedIn;
use coreloop_testkit::{Fault, FaultProxy, TestKafka, TestRegistry, run, wait::wait_for, wait_until};
use futures::future::join_all;
use http::StatusCode;
use prost::Message as _;
use rdkafka::{
    ClientConfig, Message as _,
    consumer::{Consumer as _, StreamConsumer},
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    sqs::before,
    stage::{self, Noting, Running, Stage},
};

const PATIENCE: Duration = Duration::from_secs(40);
const FACTS: &str = "coreloop/event/v1/auth.proto";

/// A corner of a broker and of a registry, which a proxy stands before.
struct Corner {
    options: Options,
    proxy: FaultProxy,
    http: reqwest::Client,
}

impl Corner {
    async fn set() -> Self {
        let (kafka, registry) = tokio::join!(TestKafka::shared(), TestRegistry::shared());
        let proxy = FaultProxy::before(registry.address()).await;
        let prefix = format!("{}.", SystemIds.uuid().simple());
        let mut options = Options { servers: kafka.servers(), prefix, partitions: 3, ..Options::default() };
        options.timeout_ms = 30_000;
        options.schema_registry.url = TestRegistry::url(proxy.address());
        options.schema_registry.timeout_ms = 10_000;
        options.schema_registry.username = "coreloop".into();
        options.schema_registry.password = SecretString::from("secret");
        Self { options, proxy, http: reqwest::Client::new() }
    }

    fn bus(&self) -> KafkaBus {
        KafkaBus::new(&self.options, Duration::from_secs(30 * 86_400))
    }

    /// One that knows of no registry, and writes what it is given.
    fn plain(&self) -> KafkaBus {
        let mut options = self.options.clone();
        options.schema_registry.url.clear();
        KafkaBus::new(&options, Duration::from_secs(30 * 86_400))
    }

    async fn consumer(&self, stage: &Stage) -> Running {
        let parts = Parts { bus: Arc::new(self.bus()), ..stage.parts().await };
        Running::of(stage::consumer(parts, Noting))
    }

    fn topic(&self) -> String {
        format!("{}{}", self.options.prefix, topic())
    }

    fn subject(&self) -> String {
        format!("{}-value", self.topic())
    }

    /// What the registry says, past the proxy.
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let address = TestRegistry::shared().await.address();
        let url = format!("{}/{path}", TestRegistry::url(&address));
        let mut request = self.http.request(method.parse().unwrap(), url).timeout(PATIENCE);
        if let Some(body) = body {
            request = request.header("content-type", "application/vnd.schemaregistry.v1+json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    /// Registers a schema of somebody else's; answers its id.
    async fn register(&self, subject: &str, schema: &Value) -> u32 {
        let (status, said) = self.ask("POST", &format!("subjects/{subject}/versions"), Some(schema.clone())).await;
        assert_eq!(status, 200, "{said}");
        said["id"].as_u64().unwrap().try_into().unwrap()
    }

    /// The payloads of the topic, as they lie there.
    async fn payloads(&self, count: usize) -> Vec<Vec<u8>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.options.servers).set("group.id", SystemIds.uuid().to_string());
        config.set("auto.offset.reset", "earliest").set("isolation.level", "read_committed");
        let consumer: StreamConsumer = config.create().unwrap();
        consumer.subscribe(&[&self.topic()]).unwrap();
        let read = async {
            let mut payloads = Vec::new();
            while payloads.len() < count {
                payloads.push(consumer.recv().await.unwrap().payload().unwrap().to_vec());
            }
            payloads
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap()
    }

    /// Publishes what is no event of the outbox's.
    async fn publish(&self, events: &[Event]) {
        let (bus, token) = (self.plain(), SystemIds.uuid());
        bus.lead("other", token).await.unwrap();
        let batch = Batch { source: "other", token, mark: Mark::default(), now: SystemClock.now(), events };
        bus.publish(batch).await.unwrap();
    }
}

fn topic() -> Topic {
    Topic::of::<AuthUserLoggedIn>().unwrap()
}

/// Publishes an event as `source`, who leads.
async fn tell(bus: &KafkaBus, source: &str, token: Uuid) -> Result<(), Error> {
    let events = [event(source, 1, &[])];
    bus.publish(Batch { source, token, mark: Mark::default(), now: SystemClock.now(), events: &events }).await
}

async fn binary() -> Stage {
    let mut stage = Stage::set().await;
    stage.options.payload = Encoding::Protobuf;
    stage
}

/// An event whose binary payload stands behind `prefix`.
fn event(key: &str, number: i64, prefix: &[u8]) -> Event {
    let fact = AuthUserLoggedIn { user_id: key.into(), session_id: number.to_string(), ..Default::default() };
    Event {
        topic: topic(),
        key: key.into(),
        id: SystemIds.uuid(),
        sequence: number,
        version: 1,
        source: "other".into(),
        trace_id: String::new(),
        traceparent: String::new(),
        request_id: String::new(),
        created_at: SystemClock.now(),
        encoding: Encoding::Protobuf,
        payload: [prefix, &fact.encode_to_vec()].concat().into(),
    }
}

/// The frame of a message in a schema's file.
fn frame(schema: u32, place: u8) -> Vec<u8> {
    [&[0][..], &schema.to_be_bytes(), &[2, place * 2]].concat()
}

/// Where the fact of these tests stands in its file, and that file's text as anybody may write it.
fn somebodys(field: &str) -> (u8, Value) {
    let pool = coreloop_transcode::descriptor::pool();
    let file = pool.get_file_by_name(FACTS).unwrap();
    let names: Vec<String> = file.messages().map(|message| message.name().to_owned()).collect();
    let place = names.iter().position(|name| name == "AuthUserLoggedIn").unwrap();
    let messages: String = names.iter().map(|name| format!("message {name} {{\n  {field}\n}}\n")).collect();
    let schema = format!("syntax = \"proto3\";\npackage coreloop.event.v1;\n{messages}");
    (place.try_into().unwrap(), json!({ "schemaType": "PROTOBUF", "schema": schema }))
}

async fn dead(stage: &Stage, reason: &str) -> i64 {
    let all = format!("select count(*) from auth.held_events where state = 'dead' and reason = '{reason}'");
    stage.db.count(&all).await
}

#[test]
fn facts_are_framed_for_the_registry_and_have_their_effect() {
    run(async {
        let (stage, corner) = (binary().await, Corner::set().await);
        let (_relay, _consumer) = (stage.relay_over(corner.bus()).await, corner.consumer(&stage).await);
        stage.tell("a", &[1, 2]).await;
        stage.tell("b", &[1]).await;
        stage.wait_for_effects(3).await;
        assert_eq!(stage.effects().await, BTreeMap::from([("a".to_owned(), vec![1, 2]), ("b".to_owned(), vec![1])]));

        let (status, latest) = corner.ask("GET", &format!("subjects/{}/versions/latest", corner.subject()), None).await;
        assert_eq!((status, &latest["schemaType"]), (200, &json!("PROTOBUF")), "{latest}");
        let text = latest["schema"].as_str().unwrap();
        assert!(text.contains("message AuthUserLoggedIn {") && text.contains("package coreloop.event.v1;"), "{text}");
        let reference = &latest["references"][0];
        assert_eq!(
            (&reference["name"], reference["subject"].as_str()),
            (&json!("coreloop/auth/v1/auth.proto"), Some("coreloop/auth/v1/auth.proto"))
        );

        // As Confluent's readers find it: a zero, the id, the place of the message, the message.
        let (id, (place, _)) = (u32::try_from(latest["id"].as_u64().unwrap()).unwrap(), somebodys(""));
        let mut told: Vec<(String, String)> = Vec::new();
        for payload in corner.payloads(3).await {
            let message = payload.strip_prefix(&frame(id, place)[..]).unwrap();
            let fact = AuthUserLoggedIn::decode(message).unwrap();
            told.push((fact.user_id, fact.session_id));
        }
        told.sort();
        assert_eq!(told, [("a", "1"), ("a", "2"), ("b", "1")].map(|(key, number)| (key.into(), number.into())));

        // Another process finds what this one registered.
        let again = corner.bus();
        let token = SystemIds.uuid();
        again.lead("again", token).await.unwrap();
        let events = [event("c", 1, &[])];
        let batch = Batch { source: "again", token, mark: Mark::default(), now: SystemClock.now(), events: &events };
        again.publish(batch).await.unwrap();
        stage.wait_for_effects(4).await;
        let versions = corner.ask("GET", &format!("subjects/{}/versions", corner.subject()), None).await;
        assert_eq!(versions, (200, json!([1])));
    });
}

#[test]
fn an_incompatible_contract_holds_up_the_outbox_and_loses_nothing() {
    run(async {
        let (stage, corner) = (binary().await, Corner::set().await);
        corner.register(&corner.subject(), &somebodys("int32 user_id = 1;").1).await;
        let level = |level: &str| json!({ "compatibility": level });
        let config = format!("config/{}", corner.subject());
        assert_eq!(corner.ask("PUT", &config, Some(level("BACKWARD"))).await.0, 200);
        let (_relay, _consumer) = (stage.relay_over(corner.bus()).await, corner.consumer(&stage).await);
        stage.tell("a", &[1, 2]).await;
        stage.wait_for_metric("outbox_depth{domain=\"auth\"} 2").await;
        stage.tell("a", &[3]).await;
        stage.wait_for_metric("outbox_depth{domain=\"auth\"} 3").await;
        assert!(stage.effects().await.is_empty());
        assert_eq!(corner.ask("PUT", &config, Some(level("NONE"))).await.0, 200);
        stage.wait_for_effects(3).await;
        assert_eq!(stage.effects().await["a"], [1, 2, 3]);
    });
}

#[test]
fn a_registry_that_is_away_keeps_the_relay_and_readers_waiting() {
    run(async {
        let (stage, corner) = (binary().await, Corner::set().await);
        corner.proxy.set(Fault::Cut);
        let _relay = stage.relay_over(corner.bus()).await;
        stage.tell("a", &[1, 2]).await;
        stage.wait_for_metric("outbox_depth{domain=\"auth\"} 2").await;
        corner.proxy.heal();
        stage.wait_for_metric("outbox_depth{domain=\"auth\"} 0").await;

        // A reader that has not met the schema.
        corner.proxy.set(Fault::Cut);
        let (topics, token) = (vec![topic()], SystemIds.uuid());
        let subscription = Subscription { group: "test".into(), topics, start: Start::Earliest, token };
        let reader = corner.bus().subscribe(subscription).await.unwrap();
        wait_until("events wait", PATIENCE, async || {
            assert!(reader.next(10).await.unwrap().is_empty(), "given without a word of the registry");
            reader.lag().await.unwrap().iter().any(|(_, events)| *events > 0)
        })
        .await;
        corner.proxy.heal();
        let given = wait_for("they are given", PATIENCE, async || {
            Some(reader.next(10).await.unwrap()).filter(|given| !given.is_empty())
        })
        .await;
        let numbers = given.iter().map(|one| {
            let fact: AuthUserLoggedIn = one.event.as_ref().unwrap().decode().unwrap();
            (fact.session_id, one.buried)
        });
        assert_eq!(numbers.collect::<Vec<_>>(), [("1".to_owned(), None), ("2".to_owned(), None)]);
    });
}

#[test]
fn a_registry_that_is_away_costs_no_publisher() {
    run(async {
        let (corner, token) = (Corner::set().await, SystemIds.uuid());
        let bus = corner.bus();
        bus.lead("one", token).await.unwrap();
        corner.proxy.set(Fault::Cut);
        let refused = tell(&bus, "one", token).await;
        assert!(matches!(refused, Err(Error::Broker(_))), "{refused:?}");
        corner.proxy.heal();
        // As a relay would, again: of two tests that register what both import, the registry may refuse one.
        wait_for("it is published", PATIENCE, async || tell(&bus, "one", token).await.ok()).await;
        // Who leads next finds it as it is, and the one before is nobody any more.
        let next = SystemIds.uuid();
        bus.lead("one", next).await.unwrap();
        let refused = tell(&bus, "one", token).await;
        assert!(matches!(refused, Err(Error::Fenced)), "{refused:?}");
        tell(&bus, "one", next).await.unwrap();
    });
}

#[test]
fn who_asks_a_silent_registry_waits_for_no_other_question() {
    run(async {
        let (mut corner, token) = (Corner::set().await, SystemIds.uuid());
        corner.options.schema_registry.timeout_ms = 8_000;
        let (bus, sources) = (corner.bus(), ["one", "two", "three", "four", "five"]);
        for source in sources {
            bus.lead(source, token).await.unwrap();
        }
        corner.proxy.set(Fault::Pause);
        let since = Instant::now();
        let told = join_all(sources.map(|source| tell(&bus, source, token))).await;
        assert!(told.iter().all(Result::is_err), "{told:?}");
        // One after the other they would wait for forty seconds.
        assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    });
}

/// Another replica of it has taken the schema, and tells the rest.
#[test]
fn what_a_registry_does_not_know_yet_is_asked_for_again() {
    run(async {
        let (stage, mut corner) = (binary().await, Corner::set().await);
        let (place, contract) = somebodys("string user_id = 1;");
        let own = corner.register(&format!("{}mine", corner.options.prefix), &contract).await;
        let (asked, address) = (Arc::new(AtomicUsize::new(0)), corner.proxy.address().to_owned());
        let asks = Arc::clone(&asked);
        let late = before(format!("http://{address}"), move |asked| {
            let unknown = (StatusCode::NOT_FOUND, "{\"error_code\":40403,\"message\":\"not here\"}");
            let first = asked.uri.path().contains("/schemas/ids/") && asks.fetch_add(1, Ordering::SeqCst) == 0;
            first.then_some(unknown)
        })
        .await;
        corner.options.schema_registry.url = TestRegistry::url(late.trim_start_matches("http://"));
        let _consumer = corner.consumer(&stage).await;
        corner.publish(&[event("a", 1, &frame(own, place)), event("a", 2, &frame(own, place))]).await;
        stage.wait_for_effects(2).await;
        assert_eq!(stage.effects().await, BTreeMap::from([("a".to_owned(), vec![1, 2])]));
        assert_eq!((dead(&stage, "UNKNOWN_SCHEMA").await, asked.load(Ordering::SeqCst)), (0, 2));
    });
}

#[test]
fn what_the_registry_does_not_know_or_calls_another_is_a_dead_letter() {
    run(async {
        let (stage, corner) = (binary().await, Corner::set().await);
        let (place, contract) = somebodys("string user_id = 1;");
        let own = corner.register(&format!("{}mine", corner.options.prefix), &contract).await;
        let text = json!({ "schemaType": "AVRO", "schema": "{\"type\":\"string\"}" });
        let avro = corner.register(&format!("{}avro", corner.options.prefix), &text).await;
        let _consumer = corner.consumer(&stage).await;
        let unknown = event("unknown", 1, &frame(2_000_000_000, place));
        let cut = Event { payload: vec![0, 1, 2].into(), ..event("cut", 1, &[]) };
        let json = Event {
            encoding: Encoding::Json,
            payload: "{\"user_id\":\"good\",\"session_id\":\"3\"}".into(),
            ..event("good", 3, &[])
        };
        corner
            .publish(&[
                unknown.clone(),
                event("avro", 1, &frame(avro, 0)),
                event("other", 1, &frame(own, place + 1)),
                event("nowhere", 1, &frame(own, 60)),
                cut,
                // What is not framed is read as before.
                event("good", 1, &[]),
                event("good", 2, &frame(own, place)),
                json,
            ])
            .await;
        stage.wait_for_effects(3).await;
        assert_eq!(stage.effects().await, BTreeMap::from([("good".to_owned(), vec![1, 2, 3])]));
        for (reason, count) in [("UNKNOWN_SCHEMA", 1), ("WRONG_SCHEMA", 3), ("UNREADABLE", 1)] {
            wait_until(reason, PATIENCE, async || dead(&stage, reason).await == count).await;
        }
        // A letter holds the message itself: tried again, it is what its topic says.
        let (letters, mut connection) = (DeadLetters::new("auth").unwrap(), stage.pool.acquire().await.unwrap());
        let (consumer, id) = (stage::CONSUMER.to_owned(), Some(unknown.id));
        let filter = Filter { consumer, reason: Some("UNKNOWN_SCHEMA".into()), id, after: 0, count: 1 };
        assert_eq!(letters.reprocess(&mut connection, &filter, SystemClock.now()).await.unwrap(), 1);
        stage.wait_for_effects(4).await;
        assert_eq!(stage.effects().await["unknown"], [1]);
    });
}

#[test]
fn where_others_register_nothing_is_published_until_they_have() {
    run(async {
        let (stage, mut corner) = (binary().await, Corner::set().await);
        corner.options.schema_registry.auto_register = false;
        let parts = Parts { bus: Arc::new(corner.plain()), ..stage.parts().await };
        // A reader without a registry takes what is framed at its word.
        let (_relay, _consumer) = (stage.relay_over(corner.bus()).await, Running::of(stage::consumer(parts, Noting)));
        stage.tell("a", &[1]).await;
        stage.wait_for_metric("outbox_depth{domain=\"auth\"} 1").await;
        let (status, _) = corner.ask("GET", &format!("subjects/{}/versions", corner.subject()), None).await;
        assert_eq!(status, 404);
        corner.options.schema_registry.auto_register = true;
        let (others, token) = (corner.bus(), SystemIds.uuid());
        others.lead("others", token).await.unwrap();
        let events = [event("b", 1, &[])];
        let batch = Batch { source: "others", token, mark: Mark::default(), now: SystemClock.now(), events: &events };
        others.publish(batch).await.unwrap();
        stage.wait_for_effects(2).await;
        assert_eq!(stage.effects().await.into_keys().collect::<Vec<_>>(), ["a", "b"]);
    });
}
