//! What carries the events and commands of a run, and how far the witness has heard them.

use std::{collections::HashSet, time::Duration};

use clap::ValueEnum;
use coreloop_eventing::Queue;
use coreloop_testkit::{TestKafka, TestRabbit, TestRedis};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, KafkaResult},
    topic_partition_list::TopicPartitionListElem,
};
use redis::streams::{StreamInfoGroupsReply, StreamInfoStreamReply};

/// The topic that the witness hears, and the group that it is.
const TOPIC: &str = "events.wallet.posted";
const GROUP: &str = "witness.posted";
/// Partitions of each topic, and lanes of each queue.
pub(crate) const PARTITIONS: i32 = 3;
const LANES: u32 = 4;
/// Kafka has so long to answer a question about its offsets.
const ANSWER: Duration = Duration::from_secs(10);

/// What carries events and commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Over {
    /// Redis Streams carry both; Redis loses what it had.
    Redis,
    /// Kafka carries events, RabbitMQ commands; they keep what they had on disk.
    Brokers,
}

impl Over {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redis => "Redis Streams",
            Self::Brokers => "Kafka and RabbitMQ",
        }
    }
}

/// The brokers that keep what they have.
#[derive(Debug)]
pub(crate) struct Brokers {
    /// Of events.
    pub(crate) kafka: TestKafka,
    /// Of commands.
    pub(crate) rabbit: TestRabbit,
}

impl Brokers {
    /// Sees to it that both run where they carry, and take nobody's time elsewhere.
    pub(crate) async fn see_to(running: &mut Option<Self>, over: Over) {
        if over == Over::Redis {
            *running = None;
        } else if running.is_none() {
            let (kafka, rabbit) = tokio::join!(TestKafka::start(), TestRabbit::start());
            *running = Some(Self { kafka, rabbit });
        }
    }

    /// Settings of the product: all that a run makes has its prefix; RabbitMQ is reached at `rabbit`.
    pub(crate) fn settings(&self, prefix: &str, rabbit: &str) -> String {
        format!(
            "events = \"kafka\"\ncommands = \"rabbitmq\"\n\
             [eventing.kafka]\nservers = \"{}\"\nprefix = \"{prefix}\"\npartitions = {PARTITIONS}\n\
             [eventing.rabbitmq]\nurl = \"amqp://guest:guest@{rabbit}/%2f\"\nprefix = \"{prefix}\"\nlanes = {LANES}\n",
            self.kafka.servers()
        )
    }

    /// Waits until a kill does not cost RabbitMQ the queues that a run has declared.
    pub(crate) async fn settled(&self, prefix: &str, queues: &[Queue]) {
        let mut names = Vec::new();
        for queue in queues {
            let queue = format!("{prefix}cmd.{}", queue.name());
            names.extend((0..LANES).map(|lane| format!("{queue}.{lane}")));
            names.push(format!("{queue}.dead"));
        }
        self.rabbit.registered(&names).await;
    }
}

/// How far the witness has heard.
pub(crate) enum Ear<'a> {
    /// A stream.
    Redis(&'a TestRedis),
    /// A topic, looked at under the name of its group, which is not joined for that.
    Kafka {
        /// Asks.
        group: BaseConsumer,
        /// As the broker knows it.
        topic: String,
    },
}

impl<'a> Ear<'a> {
    /// Of a run over Redis.
    pub(crate) fn of_redis(redis: &'a TestRedis) -> Self {
        Self::Redis(redis)
    }

    /// Of a run over Kafka, under its prefix.
    pub(crate) fn of_kafka(kafka: &TestKafka, prefix: &str) -> KafkaResult<Self> {
        let group = ClientConfig::new()
            .set("bootstrap.servers", kafka.servers())
            .set("group.id", format!("{prefix}{GROUP}"))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            // What a broker that came back has yet to say the end of is not given to the witness, and is there all the same.
            .set("isolation.level", "read_uncommitted")
            .set("fetch.wait.max.ms", "10")
            .create()?;
        Ok(Self::Kafka { group, topic: format!("{prefix}{TOPIC}") })
    }

    /// Up to where it has heard, for who wants to know whether that moves; none while nobody can tell.
    pub(crate) async fn places(&self) -> Option<Vec<String>> {
        match self {
            Self::Redis(redis) => of_stream(redis).await.map(|(places, _)| places),
            Self::Kafka { group, topic } => {
                let places = tokio::task::block_in_place(|| of_group(group, topic)).ok()?;
                let place = |place: &TopicPartitionListElem<'_>| format!("{}:{:?}", place.partition(), place.offset());
                Some(places.elements().iter().map(place).collect())
            }
        }
    }

    /// Whether that is all there is; not while nobody can tell.
    pub(crate) async fn all(&self) -> bool {
        match self {
            Self::Redis(redis) => of_stream(redis).await.is_some_and(|(_, all)| all),
            Self::Kafka { group, topic } => {
                tokio::task::block_in_place(|| nothing_follows(group, topic)).unwrap_or(false)
            }
        }
    }
}

async fn of_stream(redis: &TestRedis) -> Option<(Vec<String>, bool)> {
    let mut connection = redis.connect().await;
    let stream: StreamInfoStreamReply =
        redis::cmd("XINFO").arg("STREAM").arg(TOPIC).query_async(&mut connection).await.ok()?;
    let groups: StreamInfoGroupsReply =
        redis::cmd("XINFO").arg("GROUPS").arg(TOPIC).query_async(&mut connection).await.ok()?;
    let groups = groups.groups;
    let all = groups.iter().all(|group| group.pending == 0 && group.last_delivered_id == stream.last_generated_id);
    let places: Vec<_> = groups.iter().map(|group| format!("{} {}", group.last_delivered_id, group.pending)).collect();
    let any = !places.is_empty();
    Some((places, all && any))
}

/// Where the next reader of a group would begin, in each partition.
fn of_group(group: &BaseConsumer, topic: &str) -> KafkaResult<TopicPartitionList> {
    let metadata = group.fetch_metadata(Some(topic), ANSWER)?;
    let mut asked = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        asked.add_partition(topic, partition.id());
    }
    group.committed_offsets(asked, ANSWER)
}

/// Ends of transactions have offsets of their own, which nobody is given: so what follows is read, and there is to be nothing. What
/// a relay did not commit is told again by the next, so it does not stay the last.
fn nothing_follows(group: &BaseConsumer, topic: &str) -> KafkaResult<bool> {
    let (places, mut from) = (of_group(group, topic)?, TopicPartitionList::new());
    for place in places.elements() {
        let begun = matches!(place.offset(), Offset::Offset(_));
        from.add_partition_offset(topic, place.partition(), if begun { place.offset() } else { Offset::Beginning })?;
    }
    group.assign(&from)?;
    let mut ended = HashSet::new();
    let nothing = loop {
        if ended.len() == places.count() {
            break Ok(!ended.is_empty());
        }
        match group.poll(ANSWER) {
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(error)) => break Err(error),
            Some(Ok(_)) | None => break Ok(false),
        }
    };
    group.unassign()?;
    nothing
}
