//! Buses whose users are not told in time, or never, what was done.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use coreloop_eventing::{
    Error, RedisBus, Topic,
    bus::{Batch, Bus, Delivery, Mark, Reader, Receipt, Start, Subscription},
};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// A bus that does as it is told and never says so: its user is killed between the deed and the word.
#[derive(Debug)]
pub struct Mute {
    pub bus: RedisBus,
    pub mute_publish: bool,
    pub mute_ack: bool,
}

#[derive(Debug)]
struct MuteReader(Box<dyn Reader>);

#[async_trait]
impl Bus for Mute {
    async fn lead(&self, source: &str, token: Uuid) -> Result<Option<Mark>, Error> {
        self.bus.lead(source, token).await
    }

    async fn known(&self, source: &str) -> Result<Option<Mark>, Error> {
        self.bus.known(source).await
    }

    async fn publish(&self, batch: Batch<'_>) -> Result<(), Error> {
        self.bus.publish(batch).await?;
        if self.mute_publish { std::future::pending().await } else { Ok(()) }
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Reader>, Error> {
        let reader = self.bus.subscribe(subscription).await?;
        Ok(if self.mute_ack { Box::new(MuteReader(reader)) } else { reader })
    }

    async fn rewind(&self, group: &str, topic: &Topic, start: Start) -> Result<(), Error> {
        self.bus.rewind(group, topic, start).await
    }
}

#[async_trait]
impl Reader for MuteReader {
    async fn next(&self, most: usize) -> Result<Vec<Delivery>, Error> {
        self.0.next(most).await
    }

    async fn ack(&self, _receipts: &[Receipt]) -> Result<(), Error> {
        std::future::pending().await
    }

    async fn lag(&self) -> Result<Vec<(Topic, u64)>, Error> {
        self.0.lag().await
    }
}

/// A bus whose acknowledgements wait for permits, and are counted.
#[derive(Debug)]
pub struct SlowAcks {
    pub bus: RedisBus,
    pub permits: Arc<Semaphore>,
    pub calls: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct SlowAcksReader {
    reader: Box<dyn Reader>,
    permits: Arc<Semaphore>,
    calls: Arc<AtomicUsize>,
}

#[async_trait]
impl Bus for SlowAcks {
    async fn lead(&self, source: &str, token: Uuid) -> Result<Option<Mark>, Error> {
        self.bus.lead(source, token).await
    }

    async fn known(&self, source: &str) -> Result<Option<Mark>, Error> {
        self.bus.known(source).await
    }

    async fn publish(&self, batch: Batch<'_>) -> Result<(), Error> {
        self.bus.publish(batch).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Reader>, Error> {
        let reader = self.bus.subscribe(subscription).await?;
        let (permits, calls) = (Arc::clone(&self.permits), Arc::clone(&self.calls));
        Ok(Box::new(SlowAcksReader { reader, permits, calls }))
    }

    async fn rewind(&self, group: &str, topic: &Topic, start: Start) -> Result<(), Error> {
        self.bus.rewind(group, topic, start).await
    }
}

#[async_trait]
impl Reader for SlowAcksReader {
    async fn next(&self, most: usize) -> Result<Vec<Delivery>, Error> {
        self.reader.next(most).await
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<(), Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.permits.acquire().await.unwrap().forget();
        self.reader.ack(receipts).await
    }

    async fn lag(&self) -> Result<Vec<(Topic, u64)>, Error> {
        self.reader.lag().await
    }
}
