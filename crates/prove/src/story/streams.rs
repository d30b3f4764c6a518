//! The broker's streams: whether all that was told is read, and telling what was told once more.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, Result, bail};
use coreloop_testkit::TestRedis;
use redis::{
    Value as Field,
    aio::MultiplexedConnection,
    streams::{StreamInfoGroupsReply, StreamRangeReply},
};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// Facts that are one by what they tell of, whichever id they have.
const ONE_BY_THEMSELVES: [&str; 2] = ["events.image.registered", "events.scan.completed"];
/// Services that tell facts.
const TELL: [&str; 5] = ["image", "scan", "character", "my", "notification"];

/// The streams of events.
pub(super) struct Streams {
    redis: MultiplexedConnection,
    /// Readers of each that was there in the beginning.
    readers: HashMap<String, usize>,
}

/// A stream as it stands.
struct Stream {
    length: usize,
    readers: usize,
    /// Every reader is done with all of it.
    read: bool,
}

impl Streams {
    /// Those that are there.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(super) async fn of(redis: &TestRedis) -> Result<Self> {
        let mut streams = Self { redis: redis.connect().await, readers: HashMap::new() };
        streams.readers = streams.all().await?.into_iter().map(|(topic, stream)| (topic, stream.readers)).collect();
        Ok(streams)
    }

    /// Those of a Redis that came back.
    pub(super) async fn again(&mut self, redis: &TestRedis) {
        self.redis = redis.connect().await;
    }

    async fn all(&mut self) -> Result<HashMap<String, Stream>> {
        let topics: Vec<String> = redis::cmd("KEYS").arg("events.*.*").query_async(&mut self.redis).await?;
        let mut all = HashMap::new();
        for topic in topics {
            let length: usize = redis::cmd("XLEN").arg(&topic).query_async(&mut self.redis).await?;
            let groups: StreamInfoGroupsReply =
                redis::cmd("XINFO").arg("GROUPS").arg(&topic).query_async(&mut self.redis).await?;
            let (readers, mut read) = (groups.groups.len(), true);
            for group in groups.groups {
                let mut range = redis::cmd("XRANGE");
                range.arg(&topic).arg(format!("({}", group.last_delivered_id)).arg("+").arg("COUNT").arg(1);
                let unread: StreamRangeReply = range.query_async(&mut self.redis).await?;
                read &= group.pending == 0 && unread.ids.is_empty();
            }
            all.insert(topic, Stream { length, readers, read });
        }
        Ok(all)
    }

    /// Waits until whoever read in the beginning has read all there is.
    ///
    /// # Errors
    /// When they have not in time.
    pub(super) async fn wait_until_read(&mut self, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        loop {
            let all = self.all().await?;
            let behind: Vec<&String> = self
                .readers
                .iter()
                .filter(|(topic, readers)| {
                    all.get(*topic).is_none_or(|stream| stream.readers < **readers || !stream.read)
                })
                .map(|(topic, _)| topic)
                .collect();
            if behind.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("nobody is done with {behind:?}");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the relays have told all that their outboxes have.
    ///
    /// # Errors
    /// When they have not in time.
    pub(super) async fn wait_until_told(&mut self, database: &mut PgConnection, patience: Duration) -> Result<()> {
        let rows = TELL.map(|schema| {
            format!("select aggregatetype || '.' || type as fact from {schema}.outbox where type not like '%.%'")
        });
        let sql = format!("select 'events.' || fact, count(*) from ({}) told group by 1", rows.join(" union all "));
        let end = Instant::now() + patience;
        loop {
            let written: Vec<(String, i64)> =
                sqlx::query_as(sqlx::AssertSqlSafe(sql.as_str())).fetch_all(&mut *database).await?;
            let all = self.all().await?;
            let told = |topic: &str| all.get(topic).map_or(0, |stream| stream.length);
            let untold: Vec<&String> = written
                .iter()
                .filter(|(topic, rows)| told(topic) < usize::try_from(*rows).unwrap_or_default())
                .map(|(topic, _)| topic)
                .collect();
            if untold.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("not told again: {untold:?}");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Tells scans and photos once more as other events, backwards.
    ///
    /// # Errors
    /// When Redis does not take it.
    pub(super) async fn tell_as_others(&mut self) -> Result<()> {
        for topic in ONE_BY_THEMSELVES {
            let mut range = redis::cmd("XRANGE");
            let all: StreamRangeReply = range.arg(topic).arg("-").arg("+").query_async(&mut self.redis).await?;
            for entry in all.ids.into_iter().rev() {
                let mut add = redis::cmd("XADD");
                add.arg(topic).arg("*");
                for (name, value) in entry.map {
                    let Field::BulkString(bytes) = value else { bail!("{topic}: {name} is no text") };
                    let bytes = if name == "id" { Uuid::new_v4().to_string().into_bytes() } else { bytes };
                    add.arg(name).arg(bytes);
                }
                add.query_async::<String>(&mut self.redis).await.with_context(|| topic.to_owned())?;
            }
        }
        Ok(())
    }
}
