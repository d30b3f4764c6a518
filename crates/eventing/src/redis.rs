//! Redis Streams: the local default.
//!
//! A stream a topic. Everything that must be decided once is one script: publishing looks at the publisher's token and
//! mark, reading at the reader's token, so who was replaced can neither publish nor take. The mark tells a Redis that
//! lost its data, wholly or its last second: the relay then publishes again from what Redis remembers.

mod commands;
mod publish;
mod read;

use std::{fmt, sync::LazyLock, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use redis::{
    Client, Script,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use uuid::Uuid;

use crate::{
    Error, Options, Topic,
    bus::{Batch, Bus, Mark, Reader, Start, Subscription},
};

/// `KEYS[1]`: a topic. `ARGV`: group, id. Sets the group to read what is above the id, unless it has not read so far.
static SET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local function parts(id)
             local time, number = string.match(id, '^(%d+)-?(%d*)$')
             return tonumber(time) or math.huge, tonumber(number) or 0
         end
         for _, told in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
             local group = {}
             for field = 1, #told, 2 do group[told[field]] = told[field + 1] end
             if group['name'] == ARGV[1] then
                 local time, number = parts(ARGV[2])
                 local read, last = parts(group['last-delivered-id'])
                 if time > read or time == read and number > last then
                     return redis.error_reply('AHEAD of what it has read')
                 end
             end
         end
         return redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[2])",
    )
});

/// The bus on Redis Streams.
#[derive(Clone)]
pub struct RedisBus {
    connection: ConnectionManager,
    client: Client,
    timeout: Duration,
    retention: Duration,
}

impl RedisBus {
    /// A bus over connections of its own, which `client` makes: those of the process, as `connection`, are for what is
    /// answered at once, and give up what takes longer although it happens.
    #[must_use]
    pub fn new(connection: ConnectionManager, client: Client, options: &Options) -> Self {
        let timeout = Duration::from_millis(options.broker_timeout_ms);
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_max_delay(Duration::from_secs(1));
        Self {
            connection: ConnectionManager::new_lazy_with_config(client.clone(), config).unwrap_or(connection),
            client,
            timeout,
            retention: Duration::from_secs(options.retention_secs),
        }
    }

    /// The stream id above which a group begins to read. What is past its retention may still be there, and those who acted
    /// on it may have forgotten that: nobody reads it again.
    async fn begin(&self, start: Start) -> Result<String, Error> {
        let from = match start {
            Start::Latest => return Ok("$".to_owned()),
            Start::Earliest => 0,
            Start::At(time) => time.as_millisecond(),
        };
        let mut connection = self.connection.clone();
        let time = redis::cmd("TIME");
        let (secs, _micros): (i64, i64) = self.within(time.query_async(&mut connection)).await?;
        let keep = i64::try_from(self.retention.as_secs()).unwrap_or(i64::MAX);
        let oldest = secs.saturating_sub(keep).saturating_mul(1_000);
        Ok(before(from.max(oldest)))
    }

    /// Sets a group to read what is above `id` again.
    async fn set(&self, group: &str, topic: &Topic, id: &str) -> Result<(), Error> {
        let mut script = SET.prepare_invoke();
        script.key(topic.as_str()).arg(group).arg(id);
        let mut connection = self.connection.clone();
        self.within(script.invoke_async::<()>(&mut connection)).await
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
            Some("AHEAD") => Error::Ahead,
            _ if error.is_timeout() => Error::Timeout,
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

/// The last id before a millisecond: groups read what is above.
fn before(millisecond: i64) -> String {
    if millisecond <= 0 { "0".to_owned() } else { format!("{}-{}", millisecond - 1, u64::MAX) }
}

#[async_trait]
impl Bus for RedisBus {
    async fn lead(&self, source: &str, token: Uuid) -> Result<Option<Mark>, Error> {
        publish::lead(self, source, token).await.map(Some)
    }

    async fn known(&self, source: &str) -> Result<Option<Mark>, Error> {
        publish::known(self, source).await.map(Some)
    }

    async fn publish(&self, batch: Batch<'_>) -> Result<(), Error> {
        publish::publish(self, batch).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(read::Group::join(self, subscription, false).await?))
    }

    async fn rewind(&self, group: &str, topic: &Topic, start: Start) -> Result<(), Error> {
        let begin = self.begin(start).await?;
        self.set(group, topic, &begin).await
    }

    async fn rewind_to(&self, group: &str, topic: &Topic, place: &str) -> Result<(), Error> {
        let wrong = || Error::Name(place.to_owned());
        let (millisecond, number) = place.split_once('-').ok_or_else(wrong)?;
        let (millisecond, number): (i64, u64) =
            (millisecond.parse().ok().filter(|at| *at >= 0).ok_or_else(wrong)?, number.parse().map_err(|_| wrong())?);
        let at = Timestamp::from_millisecond(millisecond).map_err(|_| wrong())?;
        let oldest = self.begin(Start::At(at)).await?;
        // What comes before it in its millisecond is left out, unless the retention begins later.
        let begin = match number.checked_sub(1) {
            Some(number) if oldest == before(millisecond) => format!("{millisecond}-{number}"),
            _ => oldest,
        };
        self.set(group, topic, &begin).await
    }
}
