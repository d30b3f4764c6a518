//! Putting events into streams.

use std::{collections::HashMap, sync::LazyLock};

use redis::{Script, ScriptInvocation};
use uuid::Uuid;

use super::RedisBus;
use crate::{
    Encoding, Error,
    bus::{Batch, Mark},
};

/// The order in which values of an entry are given to the script, which knows the names.
const FIELDS: usize = 10;

/// `KEYS[1]`: who publishes and how far. Answers what is known, zero for a Redis that knows nothing.
static LEAD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('HSET', KEYS[1], 'token', ARGV[1])
         redis.call('HSETNX', KEYS[1], 'batches', '0')
         redis.call('HSETNX', KEYS[1], 'floor', '0')
         return redis.call('HMGET', KEYS[1], 'batches', 'floor')",
    )
});

/// `KEYS[1]` as above, then the topics; `ARGV`: token, batches and floor from now on, oldest id kept, then for each event the
/// number of its topic and its values. All of it or nothing.
static PUBLISH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local state = redis.call('HMGET', KEYS[1], 'token', 'batches')
         if not state[2] or tonumber(state[2]) < tonumber(ARGV[2]) - 1 then return redis.error_reply('LOST it was told') end
         if state[1] ~= ARGV[1] then return redis.error_reply('FENCED by another publisher') end
         local call, KEYS, ARGV = redis.call, KEYS, ARGV
         -- A script is not undone.
         for topic = 2, #KEYS do
             local kind = call('TYPE', KEYS[topic]).ok
             if kind ~= 'stream' and kind ~= 'none' then return redis.error_reply('WRONGTYPE no stream: ' .. KEYS[topic]) end
         end
         for at = 5, #ARGV, 11 do
             call('XADD', KEYS[tonumber(ARGV[at])], '*',
                 'id', ARGV[at + 1], 'key', ARGV[at + 2], 'sequence', ARGV[at + 3], 'version', ARGV[at + 4],
                 'trace_id', ARGV[at + 5], 'traceparent', ARGV[at + 6], 'request_id', ARGV[at + 7],
                 'created_at', ARGV[at + 8], 'encoding', ARGV[at + 9], 'payload', ARGV[at + 10])
         end
         for topic = 2, #KEYS do call('XTRIM', KEYS[topic], 'MINID', '~', ARGV[4]) end
         redis.call('HSET', KEYS[1], 'batches', ARGV[2], 'floor', ARGV[3])
         return 0",
    )
});

fn state(source: &str) -> String {
    format!("events:relay:{source}")
}

pub(super) async fn lead(bus: &RedisBus, source: &str, token: Uuid) -> Result<Mark, Error> {
    let mut connection = bus.connection.clone();
    let mut script = LEAD.prepare_invoke();
    script.key(state(source)).arg(token.to_string());
    let (batches, floor) = bus.within(script.invoke_async(&mut connection)).await?;
    Ok(Mark { batches, floor })
}

pub(super) async fn known(bus: &RedisBus, source: &str) -> Result<Mark, Error> {
    let mut connection = bus.connection.clone();
    let ask = redis::cmd("HMGET").arg(state(source)).arg("batches").arg("floor").to_owned();
    let (batches, floor): (Option<i64>, Option<i64>) = bus.within(ask.query_async(&mut connection)).await?;
    Ok(Mark { batches: batches.unwrap_or_default(), floor: floor.unwrap_or_default() })
}

pub(super) async fn publish(bus: &RedisBus, batch: Batch<'_>) -> Result<(), Error> {
    let script = invocation(bus, &batch);
    let mut connection = bus.connection.clone();
    bus.within(script.invoke_async::<()>(&mut connection)).await
}

fn invocation<'s>(bus: &RedisBus, batch: &Batch<'_>) -> ScriptInvocation<'s> {
    let mut script = PUBLISH.prepare_invoke();
    script.key(state(batch.source));
    let keep = i64::try_from(bus.retention.as_millis()).unwrap_or(i64::MAX);
    let oldest = batch.now.as_millisecond().saturating_sub(keep).max(0);
    script.arg(batch.token.to_string()).arg(batch.mark.batches).arg(batch.mark.floor).arg(oldest);
    let mut topics = HashMap::new();
    for event in batch.events {
        let next = topics.len() + 2;
        let number = *topics.entry(&event.topic).or_insert_with(|| {
            script.key(event.topic.as_str());
            next
        });
        let encoding = match event.encoding {
            Encoding::Json => "json",
            Encoding::Protobuf => "protobuf",
        };
        let values: [&str; FIELDS - 1] = [
            &event.id.to_string(),
            &event.key,
            &event.sequence.to_string(),
            &event.version.to_string(),
            &event.trace_id,
            &event.traceparent,
            &event.request_id,
            &event.created_at.to_string(),
            encoding,
        ];
        script.arg(number).arg(&values[..]).arg(event.payload.as_ref());
    }
    script
}
