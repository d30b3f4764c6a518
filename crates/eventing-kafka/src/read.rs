//! The reader of a group.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use coreloop_eventing::{
    Encoding, Error, Event, Topic,
    bus::{Delivery, Reader, Receipt, Start, Subscription},
};
use coreloop_planted::{self as planted, Bug};
use futures::FutureExt as _;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _, StreamConsumer},
    error::KafkaError,
    message::{BorrowedMessage, Message as _},
};

use crate::{
    Options, blocking, broker,
    frame::{self, Frame},
    lag::Lag,
    registry::{Named, Registry},
    wire,
};

/// Longest wait for news in one call.
const WAIT: Duration = Duration::from_millis(1_000);
/// Most bytes of payload that one call brings, but for the last record.
const MOST_BYTES: usize = 8 << 20;
/// A reader whose consumer waits for its database is no less a member.
const LONGEST_POLL_MS: &str = "3600000";

pub(crate) type Place = (String, i32);

/// How far a partition is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The one after the last that was given.
    pub(crate) next: i64,
    /// Given and not acknowledged.
    open: BTreeSet<i64>,
}

impl Progress {
    fn give(&mut self, offset: i64) {
        self.next = offset + 1;
        self.open.insert(offset);
    }

    /// Where a reader after this one is to begin.
    fn committed(&self) -> i64 {
        let oldest = self.open.first().filter(|_| !planted::on(Bug::EarlyOffset));
        oldest.copied().unwrap_or(self.next)
    }
}

/// A record as it was taken from the broker.
struct Taken {
    place: Place,
    offset: i64,
    topic: Topic,
    /// The event, or what the record looks like.
    event: Result<Event, String>,
    /// The schema that its payload was framed for, and which of its messages it is.
    schema: Option<(u32, Vec<i32>)>,
}

/// Dropped, what it had not acknowledged is read again by the next.
pub(crate) struct Group {
    /// None only while it is dropped.
    consumer: Option<Arc<StreamConsumer>>,
    /// By the name that the broker knows.
    topics: HashMap<String, Topic>,
    registry: Option<Arc<Registry>>,
    /// Taken and not given yet: the registry has not said what the first of them is.
    taken: tokio::sync::Mutex<VecDeque<Taken>>,
    progress: Arc<Mutex<HashMap<Place, Progress>>>,
    lag: Lag,
}

impl Group {
    pub(crate) async fn join(
        options: &Options,
        subscription: Subscription,
        registry: Option<Arc<Registry>>,
    ) -> Result<Self, Error> {
        let group = options.named(&subscription.group);
        let topics: HashMap<String, Topic> =
            subscription.topics.iter().map(|topic| (options.named(topic.as_str()), topic.clone())).collect();
        if subscription.start != Start::Earliest {
            let (config, names) = (config(options, &group), topics.keys().cloned().collect());
            let (start, timeout) = (subscription.start, options.timeout());
            blocking(move || begin(&config, names, start, timeout, false)).await?;
        }
        let mut config = config(options, &group);
        // Under this name there is one at a time.
        config.set("group.instance.id", &group);
        let consumer: StreamConsumer = config.create().map_err(broker)?;
        consumer.subscribe(&topics.keys().map(String::as_str).collect::<Vec<_>>()).map_err(broker)?;
        let (consumer, progress) = (Arc::new(consumer), Arc::default());
        let lag = Lag::of(&consumer, &topics, &progress, options.timeout());
        let (consumer, taken) = (Some(consumer), tokio::sync::Mutex::default());
        Ok(Self { consumer, topics, registry, taken, progress, lag })
    }

    fn consumer(&self) -> Result<&Arc<StreamConsumer>, Error> {
        self.consumer.as_ref().ok_or(Error::Fenced)
    }

    /// Takes what the broker has, up to `most` records.
    async fn take(&self, most: usize, taken: &mut VecDeque<Taken>) -> Result<(), Error> {
        let (consumer, ends) = (self.consumer()?, self.lag.known());
        let first = match tokio::time::timeout(WAIT, consumer.recv()).await {
            Ok(first) => first.map_err(broker)?,
            Err(_) => {
                self.lag.waited(ends);
                return Ok(());
            }
        };
        taken.extend(self.taken(&first));
        // Records may be large: what is read is bounded in bytes too.
        let mut room = MOST_BYTES.saturating_sub(first.payload_len());
        while taken.len() < most && room > 0 {
            match consumer.recv().now_or_never() {
                Some(next) => {
                    let next = next.map_err(broker)?;
                    room = room.saturating_sub(next.payload_len());
                    taken.extend(self.taken(&next));
                }
                None => break,
            }
        }
        Ok(())
    }

    fn taken(&self, record: &BorrowedMessage<'_>) -> Option<Taken> {
        let topic = self.topics.get(record.topic())?;
        let (place, offset) = ((record.topic().to_owned(), record.partition()), record.offset());
        {
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.entry(place.clone()).or_insert_with(|| Progress { next: offset, open: BTreeSet::new() });
        }
        let shown = || {
            let payload = String::from_utf8_lossy(record.payload().unwrap_or_default()).into_owned();
            format!("{topic} {}:{offset}: {payload}", record.partition()).replace('\0', "\u{fffd}")
        };
        let (mut event, mut schema) = (wire::event(topic, record).ok_or_else(shown), None);
        if let Ok(read) = &mut event
            && read.encoding == Encoding::Protobuf
            && frame::framed(&read.payload)
        {
            match frame::read(&read.payload) {
                Some(Frame { schema: id, path, payload }) => (read.payload, schema) = (payload, Some((id, path))),
                None => event = Err(shown()),
            }
        }
        Some(Taken { place, offset, topic: topic.clone(), event, schema })
    }

    /// Why a record is given up, by what the registry says of its schema. Without a registry nobody is asked.
    async fn refused(&self, taken: &Taken) -> Result<Option<&'static str>, Error> {
        let (Some(registry), Some((id, path)), Ok(event)) = (&self.registry, &taken.schema, &taken.event) else {
            return Ok(None);
        };
        Ok(match registry.message(*id, path).await? {
            Named::Nothing => Some("UNKNOWN_SCHEMA"),
            Named::Other => Some("WRONG_SCHEMA"),
            // Of what this process has no contract of, its handler knows.
            Named::Message(name) => {
                event.topic.message(event.version).filter(|wanted| *wanted != name).map(|_| "WRONG_SCHEMA")
            }
        })
    }

    fn give(&self, taken: Taken, buried: Option<&'static str>) -> Delivery {
        let Taken { place, offset, topic, event, .. } = taken;
        let position = format!("{}:{offset}", place.1);
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.entry(place).or_default().give(offset);
        Delivery { receipt: Receipt { topic, position }, event, buried, again: true }
    }

    /// Notes what is done; answers where readers are to begin from now on.
    fn done(&self, receipts: &[Receipt]) -> Result<TopicPartitionList, Error> {
        let names: HashMap<&Topic, &str> = self.topics.iter().map(|(name, topic)| (topic, name.as_str())).collect();
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let mut moved = BTreeSet::new();
        for receipt in receipts {
            let place = receipt.position.split_once(':').and_then(|(partition, offset)| {
                let name = *names.get(&receipt.topic)?;
                Some(((name.to_owned(), partition.parse().ok()?), offset.parse::<i64>().ok()?))
            });
            let Some((place, offset)) = place else { return Err(Error::Name(receipt.position.clone())) };
            if let Some(partition) = progress.get_mut(&place) {
                partition.open.remove(&offset);
                moved.insert(place);
            }
        }
        let mut offsets = TopicPartitionList::new();
        for (topic, partition) in &moved {
            let Some(progress) = progress.get(&(topic.clone(), *partition)) else { continue };
            offsets.add_partition_offset(topic, *partition, Offset::Offset(progress.committed())).map_err(broker)?;
        }
        Ok(offsets)
    }
}

fn config(options: &Options, group: &str) -> ClientConfig {
    let mut config = options.client();
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("session.timeout.ms", options.session_timeout_ms.to_string())
        .set("heartbeat.interval.ms", (options.session_timeout_ms / 5).to_string())
        .set("max.poll.interval.ms", LONGEST_POLL_MS)
        .set("fetch.wait.max.ms", "100")
        .set("socket.timeout.ms", options.timeout_ms.max(1_000).to_string());
    config
}

/// Lets a group that nobody reads begin at `start`: where it has not begun, or, with `again`, where it has and is past that.
/// Answers whether there is any such place.
fn begin(
    config: &ClientConfig,
    topics: Vec<String>,
    start: Start,
    timeout: Duration,
    again: bool,
) -> Result<bool, KafkaError> {
    let consumer: BaseConsumer = config.create()?;
    let mut all = TopicPartitionList::new();
    for topic in &topics {
        let metadata = consumer.fetch_metadata(Some(topic), timeout)?;
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            all.add_partition(topic, partition.id());
        }
    }
    if all.count() == 0 {
        return Ok(false);
    }
    let known = consumer.committed_offsets(all, timeout)?;
    let mut offsets = TopicPartitionList::new();
    for element in known.elements() {
        let committed = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        // Where it has not begun it reads all, and what is read again is to leave nothing out.
        if again != committed.is_some() {
            continue;
        }
        let (topic, partition) = (element.topic(), element.partition());
        let (low, high) = consumer.fetch_watermarks(topic, partition, timeout)?;
        let offset = match start {
            Start::Earliest => low,
            Start::Latest => high,
            Start::At(time) => {
                let mut asked = TopicPartitionList::new();
                asked.add_partition_offset(topic, partition, Offset::Offset(time.as_millisecond()))?;
                match consumer.offsets_for_times(asked, timeout)?.elements().first().map(|found| found.offset()) {
                    Some(Offset::Offset(offset)) => offset,
                    // Nothing since.
                    _ => high,
                }
            }
        };
        let offset = committed.map_or(offset, |committed| committed.min(offset));
        offsets.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    if offsets.count() == 0 {
        return Ok(false);
    }
    consumer.commit(&offsets, CommitMode::Sync).map(|()| true)
}

/// Moves the offsets of a group that nobody reads back.
pub(crate) async fn rewind(options: &Options, group: &str, topic: &Topic, start: Start) -> Result<(), Error> {
    let config = config(options, &options.named(group));
    let (topics, timeout) = (vec![options.named(topic.as_str())], options.timeout());
    match blocking(move || begin(&config, topics, start, timeout, true)).await? {
        true => Ok(()),
        false => Err(Error::Broker(format!("{group} has read nothing of {topic}").into())),
    }
}

#[async_trait]
impl Reader for Group {
    async fn next(&self, most: usize) -> Result<Vec<Delivery>, Error> {
        let mut taken = self.taken.lock().await;
        if taken.is_empty() {
            self.take(most, &mut taken).await?;
        }
        let mut deliveries = Vec::new();
        while let Some(first) = taken.front().filter(|_| deliveries.len() < most) {
            match self.refused(first).await {
                Ok(buried) => deliveries.extend(taken.pop_front().map(|first| self.give(first, buried))),
                // It waits, and all behind it: whoever joined anew would read the same again.
                Err(error) => {
                    tracing::warn!(%error, topic = %first.topic, "events wait for what the schema registry says");
                    if deliveries.is_empty() {
                        tokio::time::sleep(WAIT).await;
                    }
                    break;
                }
            }
        }
        Ok(deliveries)
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<(), Error> {
        let offsets = self.done(receipts)?;
        let consumer = Arc::clone(self.consumer()?);
        blocking(move || consumer.commit(&offsets, CommitMode::Sync)).await
    }

    async fn lag(&self) -> Result<Vec<(Topic, u64)>, Error> {
        self.lag.told().await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let consumer = self.consumer.take();
        // Closing waits for the broker.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(consumer));
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("topics", &self.topics.values()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_committed_up_to_the_oldest_that_is_open() {
        let mut progress = Progress::default();
        for offset in [5, 6, 8] {
            progress.give(offset);
        }
        assert_eq!(progress.committed(), 5);
        progress.open.remove(&6);
        assert_eq!(progress.committed(), 5);
        progress.open.remove(&5);
        assert_eq!(progress.committed(), 8);
        progress.open.remove(&8);
        assert_eq!(progress.committed(), 9);
    }
}
