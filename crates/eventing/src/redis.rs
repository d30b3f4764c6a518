//! Redis Streams: the local default.
//!
//! A stream a topic. Everything that must be decided once is one script: publishing looks at the publisher's token and
//! mark, reading at the reader's token, so who was replaced can neither publish nor take. The mark tells a Redis that
//! lost its data, wholly or its last second: the relay then publishes again from what Redis remembers.

mod commands;
mod publish;
mod read;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use redis::{Client, aio::ConnectionManager};
use uuid::Uuid;

use crate::{
    Error, Options, Topic,
    bus::{Batch, Bus, Mark, Reader, Start, Subscription},
};

/// The bus on Redis Streams.
#[derive(Clone)]
pub struct RedisBus {
    connection: ConnectionManager,
    client: Client,
    timeout: Duration,
    retention: Duration,
}

impl RedisBus {
    /// A bus over `connection`; `client` makes the connections that wait.
    #[must_use]
    pub fn new(connection: ConnectionManager, client: Client, options: &Options) -> Self {
        Self {
            connection,
            client,
            timeout: Duration::from_millis(options.broker_timeout_ms),
            retention: Duration::from_secs(options.retention_secs),
        }
    }

    async fn within<T>(&self, answer: impl Future<Output = redis::RedisResult<T>>) -> Result<T, Error> {
        within(self.timeout, answer).await
    }
}

/// Waits for `answer`; what our scripts refuse has an error of its own.
async fn within<T>(timeout: Duration, answer: impl Future<Output = redis::RedisResult<T>>) -> Result<T, Error> {
    match tokio::time::timeout(timeout, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(match error.code() {
            Some("FENCED") => Error::Fenced,
            Some("LOST") => Error::Lost,
            Some("FULL") => Error::Full,
            _ => Error::Redis(error),
        }),
        Err(_) => Err(Error::Timeout),
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisBus")
    }
}

/// The stream id that a start means for a group.
fn id_of(start: Start) -> String {
    match start {
        Start::Earliest => "0".to_owned(),
        Start::Latest => "$".to_owned(),
        // The last id before that millisecond: groups read what is above.
        Start::At(time) => format!("{}-{}", (time.as_millisecond() - 1).max(0), u64::MAX),
    }
}

#[async_trait]
impl Bus for RedisBus {
    async fn lead(&self, source: &str, token: Uuid) -> Result<Option<Mark>, Error> {
        publish::lead(self, source, token).await.map(Some)
    }

    async fn publish(&self, batch: Batch<'_>) -> Result<(), Error> {
        publish::publish(self, batch).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(read::Group::join(self, subscription, false).await?))
    }

    async fn rewind(&self, group: &str, topic: &Topic, start: Start) -> Result<(), Error> {
        let command = redis::cmd("XGROUP").arg("SETID").arg(topic.as_str()).arg(group).arg(id_of(start)).to_owned();
        let mut connection = self.connection.clone();
        self.within(command.query_async::<()>(&mut connection)).await
    }
}
