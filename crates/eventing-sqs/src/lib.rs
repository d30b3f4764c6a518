//! Command queues on Amazon SQS (chapter 06, item 5).
//!
//! A queue of ours is a FIFO queue, and a key a message group of it: SQS gives nothing more of a group while something of it is
//! given out, so the order of a key is its own, and all keys are worked on at once. A command is deleted after the commit of what
//! it did; until then its reader asks for more time, and when that reader is gone it is given out again.
//!
//! - **Nothing is dropped by SQS** but what is older than fourteen days, the longest it keeps anything. What was given out too
//!   often goes to the queue's dead letters (its redrive policy), which the same reader takes into the consumer's database.
//!   What is too old to be begun is for the reader to say: the retention of SQS deletes without a word.
//! - **SQS does not deduplicate for us.** It would forget a command that is sent again on purpose within five minutes, and does
//!   not know what was done an hour ago. Every sending is a message of its own, and the consumer's database knows which is new.
//! - **Two readers of a queue do no harm**: they are given different groups, and an effect is decided by the database. A reader
//!   that was replaced lets go of what it has when its lease is gone.
//! - A queue of SQS has no limit of length; ours is held by asking now and then how much there is.
//! - Rejected: standard queues, which keep no order; a FIFO queue a lane, because groups are as many as there are keys.

mod client;
mod options;
mod queues;
mod reader;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use coreloop_core::Clock;
use coreloop_eventing::{Command, CommandBus, Error, Queue, SendError, bus::Reader};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{sync::Mutex, time::Instant};
use uuid::Uuid;

pub use self::options::Options;
use self::{client::Client, queues::Queues};

/// Messages of one request, and their bytes: what any SQS takes.
const TOGETHER: usize = 10;
const MOST_BYTES: usize = 256 << 10;
/// Between two looks at how much a queue holds.
const LOOK: Duration = Duration::from_secs(2);

/// Command queues on SQS; clones share what they know of queues.
#[derive(Clone)]
pub struct SqsBus {
    client: Arc<Client>,
    queues: Arc<Queues>,
    options: Options,
    /// How much each queue holds, and since when that is known.
    held: Arc<Mutex<HashMap<Queue, (u64, Instant)>>>,
}

impl SqsBus {
    /// The SQS of `options`; requests are signed with the time of `clock`.
    #[must_use]
    pub fn new(options: &Options, clock: Arc<dyn Clock>) -> Self {
        let client = Arc::new(Client::new(options, clock));
        let queues = Arc::new(Queues::new(Arc::clone(&client), options));
        Self { client, queues, options: options.clone(), held: Arc::default() }
    }

    /// Refuses what does not fit any more.
    async fn room(&self, queue: Queue, place: &queues::Place, more: u64) -> Result<(), Error> {
        let known = self.held.lock().await.get(&queue).copied().filter(|(_, at)| at.elapsed() < LOOK);
        let (held, at) = match known {
            Some(known) => known,
            None => {
                let (waiting, given) = self.queues.depth(place).await?;
                (waiting + given, Instant::now())
            }
        };
        if held + more > u64::from(queue.most()) {
            return Err(Error::Full);
        }
        self.held.lock().await.insert(queue, (held + more, at));
        Ok(())
    }

    /// Sends commands, those of a key one after the other: behind one that failed nothing of its key is sent. `taken` are the
    /// places of those that SQS has, as soon as it says so.
    async fn put(&self, queue: Queue, commands: &[Command], taken: &mut Vec<usize>) -> Result<(), Error> {
        let place = self.queues.of(queue).await?;
        self.room(queue, &place, commands.len() as u64).await?;
        let mut left: Vec<(usize, &Command, String)> = Vec::with_capacity(commands.len());
        for (number, command) in commands.iter().enumerate() {
            let body = String::from_utf8(command.to_json()?).map_err(|error| Error::Broker(error.into()))?;
            if body.len() > MOST_BYTES {
                return Err(Error::TooLarge(body.len()));
            }
            left.push((number, command, body));
        }
        while !left.is_empty() {
            let (mut keys, mut bytes, mut later, mut entries) = (HashSet::new(), 0, Vec::new(), Vec::new());
            for (number, command, body) in left {
                let fits = entries.len() < TOGETHER && bytes + body.len() <= MOST_BYTES;
                // What is left of a key stays in order, whatever it was left for.
                if keys.insert(command.key.as_str()) && fits {
                    bytes += body.len();
                    entries.push(entry(number, command, body));
                } else {
                    later.push((number, command, body));
                }
            }
            let asked = json!({ "QueueUrl": place.commands, "Entries": entries });
            let told = self.client.must("SendMessageBatch", &asked, Duration::ZERO).await?;
            let has = client::at(&told, "/Successful").as_array().into_iter().flatten();
            taken.extend(has.filter_map(|one| client::at(one, "/Id").as_str()?.parse::<usize>().ok()));
            if let Some(failed) = client::at(&told, "/Failed").as_array().and_then(|failed| failed.first()) {
                return Err(Error::Broker(format!("it does not take a command: {failed}").into()));
            }
            left = later;
        }
        Ok(())
    }
}

fn entry(number: usize, command: &Command, body: String) -> Value {
    json!({
        "Id": number.to_string(),
        "MessageBody": body,
        "MessageGroupId": hex::encode(Sha256::digest(command.key.as_bytes())),
        // Each sending is one of its own: see the head of this file.
        "MessageDeduplicationId": Uuid::from_u128(rand::random()).to_string(),
    })
}

#[async_trait]
impl CommandBus for SqsBus {
    async fn send(&self, queue: Queue, commands: &[Command]) -> Result<(), SendError> {
        let mut taken = Vec::new();
        let time = Duration::from_millis(self.options.timeout_ms);
        // Whoever sent so much may send less.
        let sent = tokio::time::timeout(time, self.put(queue, commands, &mut taken)).await;
        let sent = sent.unwrap_or(Err(Error::Timeout));
        if sent.as_ref().err().and_then(client::refusal).is_some_and(client::Refusal::no_queue) {
            self.queues.forget(queue).await;
        }
        sent.map_err(|source| SendError { taken, source })
    }

    async fn work(&self, queue: Queue, _token: Uuid) -> Result<Box<dyn Reader>, Error> {
        let place = self.queues.of(queue).await?;
        let time = Duration::from_secs(self.options.visibility_secs.into());
        Ok(Box::new(reader::Messages::new(queue, place, time, Arc::clone(&self.client), Arc::clone(&self.queues))))
    }
}

impl fmt::Debug for SqsBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqsBus")
    }
}
