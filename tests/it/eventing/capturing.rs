//! The outbox as Debezium reads it, out of the WAL, through a publication and the plugin `pgoutput`; and what it publishes of
//! that, by the sample of docs/events.md.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coreloop_core::{Ids as _, SystemClock, id::SystemIds};
use coreloop_eventing::{
    Encoding, Event, Facts, Outbox, Parts, Topic,
    bus::{Bus as _, Start, Subscription},
};
use coreloop_eventing_kafka::{KafkaBus, Options};
use coreloop_facts::v1::{AdminActed, AuthUserLoggedIn};
use coreloop_testkit::{TestKafka, run, wait::wait_for, wait_until};
use jiff::Timestamp;
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    commanding::QUEUE,
    stage::{self, Noting, Running, Stage},
};

const PATIENCE: Duration = Duration::from_secs(40);

/// A message of the logical replication protocol, version 1, walked through from its front.
struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(length);
        self.0 = tail;
        head
    }

    fn int16(&mut self) -> usize {
        usize::from(u16::from_be_bytes(self.take(2).try_into().unwrap()))
    }

    fn int32(&mut self) -> usize {
        usize::try_from(u32::from_be_bytes(self.take(4).try_into().unwrap())).unwrap()
    }

    fn text(&mut self) -> &'a str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap();
        let text = std::str::from_utf8(self.take(length)).unwrap();
        self.take(1);
        text
    }

    /// Names of the columns of a relation, after its tag.
    fn columns(&mut self) -> Vec<String> {
        self.int32();
        assert_eq!((self.text(), self.text()), ("auth", "outbox"));
        self.take(1);
        (0..self.int16())
            .map(|_| {
                self.take(1);
                let name = self.text().to_owned();
                self.take(8);
                name
            })
            .collect()
    }

    /// The values of a new row, after its tag.
    fn row(&mut self, columns: &[String]) -> BTreeMap<String, String> {
        self.int32();
        assert_eq!(self.take(1), b"N");
        let count = self.int16();
        assert_eq!(count, columns.len());
        columns
            .iter()
            .map(|name| {
                assert_eq!(self.take(1), b"t", "{name} is not text");
                let length = self.int32();
                (name.clone(), String::from_utf8(self.take(length).to_vec()).unwrap())
            })
            .collect()
    }
}

fn heard() -> Topic {
    Topic::of::<AuthUserLoggedIn>().unwrap()
}

type Row = BTreeMap<String, String>;

/// The outbox in the WAL. Gone with the connection, however the test ends: a slot that stays keeps its database and all WAL.
struct Wal {
    connection: PgConnection,
    slot: String,
    columns: Vec<String>,
}

impl Wal {
    async fn of(stage: &Stage) -> Self {
        let slot = format!("outbox_{}", stage.db.url().rsplit('/').next().unwrap());
        stage.db.execute("create publication outbox for table auth.outbox").await;
        let mut connection = stage.db.connect().await;
        sqlx::query("select pg_create_logical_replication_slot($1, 'pgoutput', true)")
            .bind(&slot)
            .execute(&mut connection)
            .await
            .unwrap();
        Self { connection, slot, columns: Vec::new() }
    }

    /// New rows that the plugin has not told of yet, `count` of them. A commit that is not on disk yet is not told of.
    async fn rows(&mut self, count: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        wait_for("all are told of", Duration::from_secs(30), async || {
            let changes: Vec<Vec<u8>> = sqlx::query_scalar(
                "select data from pg_logical_slot_get_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'outbox')",
            )
            .bind(&self.slot)
            .fetch_all(&mut self.connection)
            .await
            .unwrap();
            for message in changes {
                let mut message = Message(&message);
                match message.take(1) {
                    b"R" => self.columns = message.columns(),
                    b"I" => rows.push(message.row(&self.columns)),
                    _ => {}
                }
            }
            (rows.len() >= count).then_some(())
        })
        .await;
        rows
    }
}

/// The router and the filter, as the sample of docs/events.md sets them.
struct Connector(BTreeMap<&'static str, &'static str>);

impl Connector {
    fn documented() -> Self {
        let (_, section) = include_str!("../../../docs/events.md").split_once("## Debezium").unwrap();
        let sample = section.split("```").nth(1).unwrap();
        Self(sample.lines().filter_map(|line| line.split_once(" = ")).collect())
    }

    fn topic(&self, row: &Row) -> String {
        let by = &row[self.0["transforms.outbox.route.by.field"]];
        self.0["transforms.outbox.route.topic.replacement"].replace("${routedByValue}", by)
    }

    /// Where the last step sends what the router has sent to `topic`. Java wants all of a name to match.
    async fn sent(&self, stage: &Stage, topic: &str) -> String {
        let pattern = format!("^({})$", self.0["transforms.acts.regex"]);
        sqlx::query_scalar("select regexp_replace($1, $2, $3)")
            .bind(topic)
            .bind(pattern)
            .bind(self.0["transforms.acts.replacement"])
            .fetch_one(&stage.pool)
            .await
            .unwrap()
    }

    async fn sends_acts_to_one_topic(&self, stage: &Stage) {
        assert_eq!(self.sent(stage, "events.auth.acted").await, Topic::of::<AdminActed>().unwrap().as_str());
        assert_eq!(self.sent(stage, "events.auth.reacted").await, "events.auth.reacted");
    }

    /// Whether the filter leaves it out. Java's predicate wants all of a name to match, and Postgres reads the same pattern.
    async fn leaves_out(&self, stage: &Stage, topic: &str) -> bool {
        let pattern = format!("^({})$", self.0["predicates.command.pattern"]);
        sqlx::query_scalar("select $1 ~ $2").bind(topic).bind(pattern).fetch_one(&stage.pool).await.unwrap()
    }

    /// The id, which the router places by itself, and what it is told to place: as text, whatever the column is.
    fn headers(&self, row: &Row) -> OwnedHeaders {
        let mut headers = OwnedHeaders::new().insert(Header { key: "id", value: Some(&row["id"]) });
        for placed in self.0["transforms.outbox.table.fields.additional.placement"].split(',') {
            let (column, name) = placed.split_once(":header").unwrap();
            let name = name.strip_prefix(':').unwrap_or(column);
            let mut value = row[column].clone();
            if column == "created_at" {
                // As Debezium writes a time with a zone.
                value = value.parse::<Timestamp>().unwrap().to_string();
            }
            headers = headers.insert(Header { key: name, value: Some(&value) });
        }
        headers
    }
}

/// Topic, key and number of a row.
fn routed(row: &Row) -> (String, String, String) {
    let payload: serde_json::Value = serde_json::from_str(&row["payload"]).unwrap();
    assert!(!row["id"].is_empty());
    let topic = Connector::documented().topic(row);
    (topic, row["aggregateid"].clone(), payload["session_id"].as_str().unwrap().to_owned())
}

#[test]
fn the_wal_tells_the_same_topics_keys_and_payloads_in_the_order_of_commits() {
    run(async {
        let mut stage = Stage::set().await;
        assert_eq!(
            stage.db.count("select count(*) from pg_settings where name = 'wal_level' and setting = 'logical'").await,
            1
        );
        let mut wal = Wal::of(&stage).await;
        stage.options.relay = false;
        let worker = stage.relay().await;
        wait_until("commits wake nobody", Duration::from_secs(30), async || !stage.listening().await).await;

        let late = stage.write("late", &[1, 2]).await;
        stage.tell("early", &[1]).await;
        stage.write("never", &[1]).await.rollback().await.unwrap();
        late.commit().await.unwrap();

        let told: Vec<_> = wal.rows(3).await.iter().map(routed).collect();
        drop(wal);
        let topic = "events.auth.user_logged_in";
        let expected = [("early", "1"), ("late", "1"), ("late", "2")];
        let expected: Vec<_> =
            expected.map(|(key, number)| (topic.to_owned(), key.to_owned(), number.to_owned())).into();
        assert_eq!(told, expected);
        assert_eq!(stage.published().await, 0, "the relay published, too");

        // Rows go when their time is over, also where nobody of ours has published them.
        worker.stop().await;
        stage.db.execute("update auth.outbox set created_at = created_at - interval '2 hours'").await;
        let _worker = stage.relay().await;
        wait_until("they are gone", Duration::from_secs(30), async || {
            stage.db.count("select count(*) from auth.outbox").await == 0
        })
        .await;
    });
}

/// The events of the topic, by their ids.
async fn all(bus: &KafkaBus, count: usize) -> BTreeMap<Uuid, Event> {
    let (group, topics, token) = ("other".to_owned(), vec![heard()], SystemIds.uuid());
    let reader = bus.subscribe(Subscription { group, topics, start: Start::Earliest, token }).await.unwrap();
    let mut read = BTreeMap::new();
    wait_for("all are read", PATIENCE, async || {
        let given = reader.next(10).await.unwrap().into_iter().map(|one| one.event.unwrap());
        read.extend(given.map(|event| (event.id, event)));
        (read.len() == count).then_some(())
    })
    .await;
    read
}

#[test]
fn what_debezium_publishes_as_documented_has_its_effect() {
    run(async {
        let (stage, kafka) = (Stage::set().await, TestKafka::shared().await);
        let prefix = format!("{}.", SystemIds.uuid().simple());
        let options =
            Options { servers: kafka.servers(), prefix, partitions: 3, timeout_ms: 30_000, ..Options::default() };
        let bus = KafkaBus::new(&options, Duration::from_secs(30 * 86_400));
        let parts = Parts { bus: Arc::new(bus.clone()), ..stage.parts().await };
        let _consumer = Running::of(stage::consumer(parts, Noting));

        let mut wal = Wal::of(&stage).await;
        stage.tell("a", &[1, 2]).await;
        stage.tell("b", &[1]).await;
        let (mut due, mut tx) = (Facts::new(), coreloop_db::begin(&stage.pool).await.unwrap());
        due.command(&SystemIds, QUEUE, "a", SystemIds.uuid(), &1).unwrap();
        let now = coreloop_core::Clock::now(&SystemClock);
        Outbox::new("auth").unwrap().write(&mut tx, &due, now).await.unwrap();
        tx.commit().await.unwrap();

        let (connector, mut config) = (Connector::documented(), ClientConfig::new());
        let producer: FutureProducer = config.set("bootstrap.servers", &options.servers).create().unwrap();
        let (rows, mut left_out) = (wal.rows(4).await, Vec::new());
        for row in &rows {
            let topic = connector.topic(row);
            if connector.leaves_out(&stage, &topic).await {
                left_out.push(topic);
                continue;
            }
            let topic = format!("{}{}", options.prefix, connector.sent(&stage, &topic).await);
            let record = FutureRecord::to(&topic).key(&row["aggregateid"]).payload(&row["payload"]);
            producer.send(record.headers(connector.headers(row)), PATIENCE).await.unwrap();
        }
        assert_eq!(left_out, [format!("events.auth.{}", QUEUE.name())]);
        connector.sends_acts_to_one_topic(&stage).await;
        stage.wait_for_effects(3).await;
        let effects = [("a", vec![1, 2]), ("b", vec![1])].map(|(key, numbers)| (key.to_owned(), numbers));
        assert_eq!(stage.effects().await, BTreeMap::from(effects));

        // The least that a record must say, beside the whole envelope of the others.
        let (id, written) = (SystemIds.uuid(), Timestamp::from_millisecond(now.as_millisecond() - 5_000).unwrap());
        let mut headers = OwnedHeaders::new();
        for (key, value) in [("id", id.to_string().as_str()), ("version", "1")] {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let topic = format!("{}{}", options.prefix, heard());
        let record = FutureRecord::to(&topic).key("bare").payload("{\"user_id\":\"bare\",\"session_id\":\"7\"}");
        producer.send(record.headers(headers).timestamp(written.as_millisecond()), PATIENCE).await.unwrap();
        stage.wait_for_effects(4).await;
        assert_eq!(stage.effects().await["bare"], [7]);
        assert_eq!(stage.db.count("select count(*) from auth.held_events").await, 0);

        let read = all(&bus, 4).await;
        for row in &rows[..3] {
            let event = &read[&row["id"].parse().unwrap()];
            assert_eq!(
                (event.sequence.to_string(), event.version.to_string()),
                (row["seq"].clone(), row["version"].clone())
            );
            assert_eq!((&event.source, &event.request_id), (&row["aggregatetype"], &row["request_id"]));
            assert_eq!((&event.trace_id, &event.traceparent), (&row["trace_id"], &row["traceparent"]));
            assert_eq!((event.created_at, event.encoding), (row["created_at"].parse().unwrap(), Encoding::Json));
        }
        let bare = &read[&id];
        assert_eq!((bare.sequence, bare.created_at, bare.encoding), (0, written, Encoding::Json));
    });
}
