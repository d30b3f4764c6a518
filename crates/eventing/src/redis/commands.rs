//! Command queues in streams: `cmd:<queue>`, with the fields of chapter 06 item 5. What is done is taken out.

use std::sync::LazyLock;

use async_trait::async_trait;
use redis::Script;
use uuid::Uuid;

use super::{RedisBus, read::Group};
use crate::{
    Command, CommandBus, Error, Queue, SendError, Topic,
    bus::{Reader, Start, Subscription},
};

/// `KEYS[1]`: the queue. `ARGV`: how much it may hold, then for each command its values. All of it or nothing.
static SEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('XLEN', KEYS[1]) + (#ARGV - 1) / 9 > tonumber(ARGV[1]) then
             return redis.error_reply('FULL it is')
         end
         for at = 2, #ARGV, 9 do
             redis.call('XADD', KEYS[1], '*', 'key', ARGV[at], 'idempotency_key', ARGV[at + 1], 'trace_id', ARGV[at + 2],
                 'traceparent', ARGV[at + 3], 'request_id', ARGV[at + 4], 'timestamp', ARGV[at + 5],
                 'source', ARGV[at + 6], 'version', ARGV[at + 7], 'payload', ARGV[at + 8])
         end
         return 0",
    )
});

#[async_trait]
impl CommandBus for RedisBus {
    async fn send(&self, queue: Queue, commands: &[Command]) -> Result<(), SendError> {
        let mut script = SEND.prepare_invoke();
        script.key(Topic::of_queue(queue).as_str()).arg(queue.most());
        for command in commands {
            script
                .arg(&command.key)
                .arg(command.idempotency_key.to_string())
                .arg(&command.trace_id)
                .arg(&command.traceparent)
                .arg(&command.request_id)
                .arg(command.timestamp.to_string())
                .arg(&command.source)
                .arg(command.version)
                .arg(command.payload.as_ref());
        }
        let mut connection = self.connection.clone();
        Ok(self.within(script.invoke_async::<()>(&mut connection)).await?)
    }

    async fn work(&self, queue: Queue, token: Uuid) -> Result<Box<dyn Reader>, Error> {
        let (group, topics) = (queue.name().to_owned(), vec![Topic::of_queue(queue)]);
        let subscription = Subscription { group, topics, start: Start::Earliest, token };
        Ok(Box::new(Group::join(self, subscription, true).await?))
    }
}
