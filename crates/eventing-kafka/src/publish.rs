//! The publisher of one source: a transactional producer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use coreloop_eventing::{Error, Event};
use futures::future::join_all;
use rdkafka::{
    error::KafkaError,
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _},
    types::RDKafkaErrorCode,
};
use uuid::Uuid;

use crate::{Options, blocking, broker, wire};

pub(crate) struct Publisher {
    pub(crate) token: Uuid,
    /// None only while it is dropped.
    producer: Option<FutureProducer>,
    options: Arc<Options>,
}

impl Publisher {
    /// Becomes the publisher of `source`; the one before is fenced, and what it had not committed is undone.
    pub(crate) async fn open(options: &Options, source: &str, token: Uuid) -> Result<Self, Error> {
        let mut config = options.client();
        config
            .set("transactional.id", options.named(&format!("relay.{source}")))
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("message.max.bytes", crate::MOST_BYTES)
            // A transaction that its publisher leaves behind holds up readers for so long at most.
            .set("transaction.timeout.ms", options.timeout_ms.max(1_000).to_string())
            .set("delivery.timeout.ms", options.timeout_ms.max(1_000).to_string())
            .set("socket.timeout.ms", options.timeout_ms.max(1_000).to_string());
        let producer: FutureProducer = config.create().map_err(broker)?;
        let (initial, timeout) = (producer.clone(), options.timeout());
        blocking(move || initial.init_transactions(timeout)).await?;
        Ok(Self { token, producer: Some(producer), options: Arc::new(options.clone()) })
    }

    /// Publishes a batch in one transaction, in order; what `prefixes` has for an event stands before its payload.
    pub(crate) async fn publish(&self, events: &[Event], prefixes: &[Bytes]) -> Result<(), Error> {
        let producer = self.producer.as_ref().ok_or(Error::Fenced)?;
        producer.begin_transaction().map_err(broker)?;
        let mut sent = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            let prefix = prefixes.get(index).map_or(&[][..], |prefix| prefix);
            sent.push(self.send(producer, event, prefix).await?);
        }
        // A commit flushes first, and the crate's flush looks whether all is gone but ten times a second, one record or many: it
        // is to find nothing. What was delivered is counted out a moment after it is told.
        let delivered = join_all(sent).await;
        while producer.flush(Duration::ZERO).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // A record that was not delivered fails the commit, which knows best why.
        let (producer, timeout) = (producer.clone(), self.options.timeout());
        blocking(move || producer.commit_transaction(timeout)).await?;
        for delivery in delivered {
            match delivery {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(broker(error)),
                Err(ended) => return Err(Error::Broker(ended.into())),
            }
        }
        Ok(())
    }

    /// Puts a record into the producer's queue; waits while that is full.
    async fn send(&self, producer: &FutureProducer, event: &Event, prefix: &[u8]) -> Result<DeliveryFuture, Error> {
        let topic = self.options.named(event.topic.as_str());
        let framed = if prefix.is_empty() { event.payload.clone() } else { [prefix, &event.payload].concat().into() };
        loop {
            let record: FutureRecord<'_, str, [u8]> =
                FutureRecord::to(&topic).key(event.key.as_str()).payload(&*framed).headers(wire::headers(event));
            match producer.send_result(record) {
                Ok(delivery) => return Ok(delivery),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err((error, _)) => return Err(broker(error)),
            }
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let producer = self.producer.take();
        // What it still has in its queue is given up, on a thread that may wait.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(producer));
        }
    }
}
