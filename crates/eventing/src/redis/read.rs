//! Reading a group's events out of streams.

use std::{
    fmt,
    sync::{LazyLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use redis::{
    AsyncConnectionConfig, FromRedisValue as _, Script,
    aio::MultiplexedConnection,
    streams::{StreamAutoClaimReply, StreamId, StreamReadReply},
};
use tokio::sync::Mutex;

use super::{RedisBus, within};
use crate::{
    Encoding, Error, Event, Topic,
    bus::{Delivery, Reader, Receipt, Subscription},
};

/// Longest wait for news in one call.
const WAIT: Duration = Duration::from_millis(1_000);
/// Entries that are read at once: each may be of a megabyte, and Redis puts all of them together before it does anything else.
const MOST: usize = 64;

/// `KEYS[1]` names the reader; then the topics. `ARGV`: token, group, most. Answers what is new, and the newest id of each
/// topic: whatever comes after it is waited for, so no wake-up is lost.
static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED by another reader') end
         local command = {'XREADGROUP', 'GROUP', ARGV[2], ARGV[1], 'COUNT', ARGV[3], 'STREAMS'}
         local newest = {}
         for at = 2, #KEYS do command[#command + 1] = KEYS[at] end
         for at = 2, #KEYS do
             command[#command + 1] = '>'
             local told = redis.call('XINFO', 'STREAM', KEYS[at])
             for field = 1, #told, 2 do
                 if told[field] == 'last-generated-id' then newest[#newest + 1] = told[field + 1] end
             end
         end
         return {redis.call(unpack(command)) or {}, newest}",
    )
});

/// `KEYS[1]` names the reader, `KEYS[2]` a topic. `ARGV`: token, group, start, most. Takes over what any reader before left.
static TAKE_OVER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED by another reader') end
         return redis.call('XAUTOCLAIM', KEYS[2], ARGV[2], ARGV[1], 0, ARGV[3], 'COUNT', ARGV[4])",
    )
});

/// `KEYS[1]` names the reader, `KEYS[2]` a topic. `ARGV`: token, group. Forgets readers that hold nothing any more.
static FORGET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "for _, told in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[2], ARGV[2])) do
             local reader = {}
             for field = 1, #told, 2 do reader[told[field]] = told[field + 1] end
             if reader['name'] ~= ARGV[1] and reader['pending'] == 0 then
                 redis.call('XGROUP', 'DELCONSUMER', KEYS[2], ARGV[2], reader['name'])
             end
         end
         return 0",
    )
});

/// The reader of a group.
pub(super) struct Group {
    bus: RedisBus,
    group: String,
    topics: Vec<Topic>,
    token: String,
    /// A connection that waits holds up every other command on it.
    waiting: Mutex<MultiplexedConnection>,
    /// They are commands: what is acknowledged is taken out.
    commands: bool,
    /// Topics whose open entries have not all been taken over, with where to go on.
    left: std::sync::Mutex<Vec<(Topic, String)>>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Group {
    pub(super) async fn join(bus: &RedisBus, subscription: Subscription, commands: bool) -> Result<Self, Error> {
        let Subscription { group, topics, start, token } = subscription;
        let mut connection = bus.connection.clone();
        // A command waits until somebody says what becomes of it.
        let begin = if commands { "0".to_owned() } else { bus.begin(start).await? };
        for topic in &topics {
            let create = redis::cmd("XGROUP")
                .arg("CREATE")
                .arg(topic.as_str())
                .arg(&group)
                .arg(&begin)
                .arg("MKSTREAM")
                .to_owned();
            match bus.within(create.query_async::<()>(&mut connection)).await {
                Err(Error::Redis(error)) if error.code() == Some("BUSYGROUP") => {}
                other => other?,
            }
        }
        let token = token.to_string();
        let name = redis::cmd("SET").arg(reader(&group)).arg(&token).to_owned();
        bus.within(name.query_async::<()>(&mut connection)).await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(bus.timeout))
            .set_response_timeout(Some(WAIT + bus.timeout));
        let waiting = bus.within(bus.client.get_multiplexed_async_connection_with_config(&config)).await?;
        let left = topics.iter().map(|topic| (topic.clone(), "0-0".to_owned())).collect();
        Ok(Self {
            bus: bus.clone(),
            group,
            topics,
            token,
            waiting: Mutex::new(waiting),
            commands,
            left: std::sync::Mutex::new(left),
        })
    }

    fn left(&self) -> std::sync::MutexGuard<'_, Vec<(Topic, String)>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What readers before left open, oldest first, topic by topic.
    async fn take_over(&self, topic: Topic, start: String, most: usize) -> Result<Vec<Delivery>, Error> {
        let mut connection = self.bus.connection.clone();
        let mut script = TAKE_OVER.prepare_invoke();
        script.key(reader(&self.group)).key(topic.as_str());
        script.arg(&self.token).arg(&self.group).arg(start).arg(most.min(MOST));
        let taken: StreamAutoClaimReply = self.bus.within(script.invoke_async(&mut connection)).await?;
        if !taken.deleted_ids.is_empty() {
            let (group, entries) = (&self.group, taken.deleted_ids.len());
            tracing::error!(%topic, group, entries, "open events were past their retention and are gone");
        }
        let deliveries = taken.claimed.iter().map(|entry| self.delivery(&topic, entry, true)).collect();
        if taken.next_stream_id == "0-0" {
            self.left().pop();
            let mut script = FORGET.prepare_invoke();
            script.key(reader(&self.group)).key(topic.as_str()).arg(&self.token).arg(&self.group);
            self.bus.within(script.invoke_async::<()>(&mut connection)).await?;
        } else if let Some(last) = self.left().last_mut() {
            last.1 = taken.next_stream_id;
        }
        Ok(deliveries)
    }

    fn delivery(&self, topic: &Topic, entry: &StreamId, again: bool) -> Delivery {
        let receipt = Receipt { topic: topic.clone(), position: entry.id.clone() };
        let event = if self.commands { command(topic, entry) } else { event(topic, entry) };
        let event = event.ok_or_else(|| format!("{topic} {}: {:?}", entry.id, entry.map));
        Delivery { receipt, event, buried: None, again }
    }

    async fn wait(&self, newest: &[String]) -> Result<(), Error> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(1).arg("BLOCK").arg(WAIT.as_millis().to_string()).arg("STREAMS");
        for topic in &self.topics {
            command.arg(topic.as_str());
        }
        command.arg(newest);
        let mut connection = self.waiting.lock().await;
        within(WAIT + self.bus.timeout, command.query_async::<redis::Value>(&mut *connection)).await?;
        Ok(())
    }
}

fn reader(group: &str) -> String {
    format!("events:reader:{group}")
}

#[async_trait]
impl Reader for Group {
    async fn next(&self, most: usize) -> Result<Vec<Delivery>, Error> {
        let open = self.left().last().cloned();
        if let Some((topic, start)) = open {
            return self.take_over(topic, start, most).await;
        }
        let mut connection = self.bus.connection.clone();
        let mut script = READ.prepare_invoke();
        script.key(reader(&self.group));
        for topic in &self.topics {
            script.key(topic.as_str());
        }
        script.arg(&self.token).arg(&self.group);
        script.arg(most.min(MOST / self.topics.len().max(1)).max(1));
        let (read, newest): (StreamReadReply, Vec<String>) =
            self.bus.within(script.invoke_async(&mut connection)).await?;
        let mut deliveries = Vec::new();
        for key in &read.keys {
            if let Some(topic) = self.topics.iter().find(|topic| topic.as_str() == key.key) {
                deliveries.extend(key.ids.iter().map(|entry| self.delivery(topic, entry, false)));
            }
        }
        if deliveries.is_empty() {
            self.wait(&newest).await?;
        }
        Ok(deliveries)
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<(), Error> {
        // Both or neither: what is acknowledged and not taken out would count for ever.
        let mut pipe = redis::pipe();
        pipe.atomic();
        for topic in &self.topics {
            let entries: Vec<&str> =
                receipts.iter().filter(|one| one.topic == *topic).map(|one| one.position.as_str()).collect();
            if !entries.is_empty() {
                pipe.cmd("XACK").arg(topic.as_str()).arg(&self.group).arg(&entries).ignore();
                if self.commands {
                    pipe.cmd("XDEL").arg(topic.as_str()).arg(&entries).ignore();
                }
            }
        }
        if pipe.is_empty() {
            return Ok(());
        }
        let mut connection = self.bus.connection.clone();
        self.bus.within(pipe.query_async::<()>(&mut connection)).await
    }

    async fn lag(&self) -> Result<Vec<(Topic, u64)>, Error> {
        let mut lags = Vec::with_capacity(self.topics.len());
        let mut connection = self.bus.connection.clone();
        for topic in &self.topics {
            let command = redis::cmd("XINFO").arg("GROUPS").arg(topic.as_str()).to_owned();
            let groups: Vec<std::collections::HashMap<String, redis::Value>> =
                self.bus.within(command.query_async(&mut connection)).await?;
            let mine = groups.into_iter().find(|group| text(group.get("name")) == self.group);
            let lag = mine.and_then(|group| group.get("lag").cloned()).and_then(|lag| u64::from_redis_value(lag).ok());
            lags.extend(lag.map(|lag| (topic.clone(), lag)));
        }
        Ok(lags)
    }
}

fn text(value: Option<&redis::Value>) -> String {
    value.cloned().and_then(|value| String::from_redis_value(value).ok()).unwrap_or_default()
}

fn event(topic: &Topic, entry: &StreamId) -> Option<Event> {
    let field = |name: &str| text(entry.map.get(name));
    let encoding = match field("encoding").as_str() {
        "json" => Encoding::Json,
        "protobuf" => Encoding::Protobuf,
        _ => return None,
    };
    Some(Event {
        topic: topic.clone(),
        key: field("key"),
        id: field("id").parse().ok()?,
        sequence: field("sequence").parse().ok()?,
        version: field("version").parse().ok()?,
        source: topic.domain().to_owned(),
        trace_id: field("trace_id"),
        traceparent: field("traceparent"),
        request_id: field("request_id"),
        created_at: field("created_at").parse().ok()?,
        encoding,
        payload: entry.get::<Vec<u8>>("payload").map(Bytes::from)?,
    })
}

/// A command, in the fields of chapter 06 item 5.
fn command(topic: &Topic, entry: &StreamId) -> Option<Event> {
    let field = |name: &str| text(entry.map.get(name));
    Some(Event {
        topic: topic.clone(),
        key: field("key"),
        id: field("idempotency_key").parse().ok()?,
        sequence: 0,
        version: field("version").parse().ok()?,
        source: field("source"),
        trace_id: field("trace_id"),
        traceparent: field("traceparent"),
        request_id: field("request_id"),
        created_at: field("timestamp").parse().ok()?,
        encoding: Encoding::Json,
        payload: entry.get::<Vec<u8>>("payload").map(Bytes::from)?,
    })
}
