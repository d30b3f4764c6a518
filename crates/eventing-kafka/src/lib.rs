//! The event bus on Kafka (chapter 06, item 2).
//!
//! A topic a fact, as on Redis, with the aggregate as the partition key; the envelope travels in headers. What the bus promises
//! is held by Kafka's own means:
//! - **Publishing is a transaction** of a producer that is named by its source (`acks=all`, idempotent): a batch is there whole
//!   or not at all, and whoever leads next fences it, so a relay that was replaced can publish nothing. Readers see only what is
//!   committed.
//! - **A group has one reader**, who joins under the name of the group (a static member): the one before is fenced at once,
//!   without a rebalance and without waiting for its session to end. It handles the keys of all partitions at once, as on Redis.
//! - **Offsets are committed by hand**, after the handler's transaction: a partition's goes up to the oldest event that is open, so
//!   whatever a reader had and did not finish is read again. What was finished above it is known to the consumer's database.
//! - A broker that has acknowledged with `acks=all` does not lose it, so there is no mark to compare: [`Bus::lead`] answers none.
//!
//! With a Schema Registry (see [`registry`]) binary payloads are framed as Confluent's serializers do.
//!
//! librdkafka blocks; what of it waits for the broker runs on threads that may.

mod frame;
mod lag;
mod options;
mod publish;
mod read;
mod registry;
mod schema;
mod topics;
mod wire;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use coreloop_core::{Clock as _, SystemClock};
use coreloop_eventing::{
    Error, Event, Topic,
    bus::{Batch, Bus, Mark, Reader, Start, Subscription},
};
use rdkafka::{ClientConfig, error::KafkaError, types::RDKafkaErrorCode};
use tokio::{sync::Mutex, time::Instant};
use uuid::Uuid;

pub use self::options::{Options, RegistryOptions};
use self::{publish::Publisher, registry::Registry, topics::Topics};

/// Largest record, as Kafka takes settings. A payload's limit is that of its compact JSON, and what Postgres makes of that has
/// a space after each comma and colon: twice as much at most, and the envelope.
const MOST_BYTES: &str = "4194304";

/// The bus on Kafka; clones share its producers.
#[derive(Clone)]
pub struct KafkaBus(Arc<Inner>);

struct Inner {
    options: Options,
    topics: Topics,
    retention: Duration,
    registry: Option<Arc<Registry>>,
    /// Those that are not at work: one that does not come back has left a transaction in doubt, which who leads next ends.
    publishers: Mutex<HashMap<String, Publisher>>,
}

impl KafkaBus {
    /// The brokers of `options`; the topics that it makes keep events for `retention`. Connects at first use.
    #[must_use]
    pub fn new(options: &Options, retention: Duration) -> Self {
        let topics = Topics::new(options.clone(), retention);
        let registry = Registry::new(&options.schema_registry).map(Arc::new);
        Self(Arc::new(Inner { options: options.clone(), topics, retention, registry, publishers: Mutex::default() }))
    }
}

impl Inner {
    /// Sees to topics and schemas; answers what is to stand before each payload.
    async fn prepare(&self, events: &[Event]) -> Result<Vec<Bytes>, Error> {
        for event in events {
            self.topics.ensure(&event.topic).await?;
        }
        match &self.registry {
            Some(registry) => registry.prefixes(events, |topic| self.options.named(topic.as_str())).await,
            None => Ok(Vec::new()),
        }
    }
}

impl Options {
    /// What every client is told.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("client.id", "coreloop");
        // A broker that comes back is found at once.
        config.set("reconnect.backoff.max.ms", "1000");
        for (key, value) in &self.client {
            config.set(key, value);
        }
        config
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// A name at the broker.
    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(broker),
        Err(ended) => Err(Error::Broker(ended.into())),
    }
}

/// What Kafka says, in our words.
fn broker(error: KafkaError) -> Error {
    let code = match &error {
        KafkaError::Transaction(inner) => Some(inner.code()),
        other => other.rdkafka_error_code(),
    };
    match code {
        Some(
            RDKafkaErrorCode::Fenced
            | RDKafkaErrorCode::InvalidProducerEpoch
            | RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::FencedInstanceId
            | RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::IllegalGeneration,
        ) => Error::Fenced,
        Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::RequestTimedOut) => Error::Timeout,
        _ => Error::Broker(error.into()),
    }
}

#[async_trait]
impl Bus for KafkaBus {
    async fn lead(&self, source: &str, token: Uuid) -> Result<Option<Mark>, Error> {
        // One that has nothing in doubt goes on: if another has led meanwhile it is fenced when it publishes, and opened anew.
        if let Some(publisher) = self.0.publishers.lock().await.get_mut(source) {
            publisher.token = token;
            return Ok(None);
        }
        let publisher = Publisher::open(&self.0.options, source, token).await?;
        self.0.publishers.lock().await.insert(source.to_owned(), publisher);
        Ok(None)
    }

    fn patience(&self) -> Duration {
        self.0.options.timeout()
    }

    async fn publish(&self, batch: Batch<'_>) -> Result<(), Error> {
        let leads = |publisher: &Publisher| publisher.token == batch.token;
        if !self.0.publishers.lock().await.get(batch.source).is_some_and(leads) {
            return Err(Error::Fenced);
        }
        // Where nothing is lost there is no mark to move.
        if batch.events.is_empty() {
            return Ok(());
        }
        let (began, patience) = (Instant::now(), self.patience());
        // The broker is not asked yet, so this is no timeout of its: fewer events at once would not help. What is known by then stays.
        let prefixes = tokio::time::timeout(patience / 2, self.0.prepare(batch.events)).await;
        let prefixes = prefixes.unwrap_or_else(|_| Err(Error::Broker("topics and schemas take too long".into())))?;
        let publisher = {
            let mut publishers = self.0.publishers.lock().await;
            publishers.get(batch.source).filter(|publisher| leads(publisher)).ok_or(Error::Fenced)?;
            publishers.remove(batch.source).ok_or(Error::Fenced)?
        };
        let publishing = publisher.publish(batch.events, &prefixes);
        tokio::time::timeout_at(began + patience, publishing).await.unwrap_or(Err(Error::Timeout))?;
        self.0.publishers.lock().await.entry(batch.source.to_owned()).or_insert(publisher);
        Ok(())
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Reader>, Error> {
        for topic in &subscription.topics {
            self.0.topics.ensure(topic).await?;
        }
        Ok(Box::new(read::Group::join(&self.0.options, subscription, self.0.registry.clone()).await?))
    }

    /// Kafka moves the offsets of a group only while nobody reads it: stop the consumer first. What is past the retention may
    /// still be there, and those who acted on it may have forgotten that: nobody reads it again.
    async fn rewind(&self, group: &str, topic: &Topic, start: Start) -> Result<(), Error> {
        // Records are as old as the clocks of their producers say.
        let oldest = SystemClock.now().checked_sub(self.0.retention).unwrap_or_default();
        let start = match start {
            Start::Earliest => Start::At(oldest),
            Start::At(time) => Start::At(time.max(oldest)),
            Start::Latest => start,
        };
        read::rewind(&self.0.options, group, topic, start).await
    }
}

impl fmt::Debug for KafkaBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KafkaBus")
    }
}
