//! A reader of a queue and of its dead letters.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use coreloop_eventing::{
    Command, Error, Queue, Topic,
    bus::{Delivery, Reader, Receipt},
};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    TOGETHER,
    client::{Client, at},
    queues::{Place, Queues},
};

/// Longest wait for news in one call.
const WAIT: Duration = Duration::from_secs(1);

/// Between two looks at the dead letters, while there are none.
const DEAD: Duration = Duration::from_secs(5);

/// What was given out and not acknowledged: the queue's address and the handle.
type Open = Arc<Mutex<HashSet<(String, String)>>>;

/// Dropped, what it had not acknowledged is given out again.
pub(crate) struct Messages {
    queue: Queue,
    place: Place,
    client: Arc<Client>,
    queues: Arc<Queues>,
    open: Open,
    /// When the dead letters are to be looked at.
    dead_at: Mutex<Instant>,
    /// Asks for more time for what is open.
    asking: Option<JoinHandle<()>>,
}

impl Messages {
    pub(crate) fn new(queue: Queue, place: Place, time: Duration, client: Arc<Client>, queues: Arc<Queues>) -> Self {
        let open = Open::default();
        let asking = tokio::runtime::Handle::try_current().ok().map(|runtime| {
            let (client, open) = (Arc::clone(&client), Arc::clone(&open));
            runtime.spawn(async move {
                loop {
                    tokio::time::sleep(time / 3).await;
                    let all = held(&open).iter().cloned().collect();
                    visible_after(&client, all, time).await;
                }
            })
        });
        Self { queue, place, client, queues, open, dead_at: Mutex::new(Instant::now()), asking }
    }

    async fn receive(&self, url: &str, most: usize, wait: Duration) -> Result<Vec<Delivery>, Error> {
        let asked = json!({
            "QueueUrl": url,
            "MaxNumberOfMessages": most.clamp(1, TOGETHER),
            "WaitTimeSeconds": wait.as_secs(),
            "AttributeNames": ["ApproximateReceiveCount"],
        });
        let told = self.client.must("ReceiveMessage", &asked, wait).await?;
        let messages = at(&told, "/Messages").as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(messages.iter().filter_map(|message| self.delivery(url, message)).collect())
    }

    fn delivery(&self, url: &str, message: &Value) -> Option<Delivery> {
        let (topic, handle) = (Topic::of_queue(self.queue), at(message, "/ReceiptHandle").as_str()?);
        let body = at(message, "/Body").as_str().unwrap_or_default();
        let id = at(message, "/MessageId").as_str().unwrap_or_default();
        let shown = || format!("{topic} {id}: {body}");
        let event = Command::from_json(self.queue, body.as_bytes()).map(Command::into_event).ok_or_else(shown);
        let times =
            at(message, "/Attributes/ApproximateReceiveCount").as_str().and_then(|times| times.parse::<u32>().ok());
        held(&self.open).insert((url.to_owned(), handle.to_owned()));
        let dead = url == self.place.dead;
        let position = format!("{}{handle}", if dead { 'd' } else { 'q' });
        Some(Delivery {
            event,
            buried: dead.then_some("DELIVERY_LIMIT"),
            again: times.is_none_or(|times| times > 1),
            receipt: Receipt { topic, position },
        })
    }
}

fn held(open: &Open) -> std::sync::MutexGuard<'_, HashSet<(String, String)>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts off that messages are given out again. One that is gone meanwhile is as good.
async fn visible_after(client: &Client, mut messages: Vec<(String, String)>, time: Duration) {
    messages.sort_unstable();
    for of_queue in messages.chunk_by(|one, other| one.0 == other.0) {
        for some in of_queue.chunks(TOGETHER) {
            let entries: Vec<Value> = some
                .iter()
                .enumerate()
                .map(|(id, (_, handle))| {
                    json!({ "Id": id.to_string(), "ReceiptHandle": handle, "VisibilityTimeout": time.as_secs() })
                })
                .collect();
            let Some((url, _)) = some.first() else { continue };
            let asked = json!({ "QueueUrl": url, "Entries": entries });
            if let Err(error) = client.must("ChangeMessageVisibilityBatch", &asked, Duration::ZERO).await {
                tracing::warn!(%error, "no more time was had for commands");
            }
        }
    }
}

#[async_trait]
impl Reader for Messages {
    async fn next(&self, most: usize) -> Result<Vec<Delivery>, Error> {
        if *self.dead_at.lock().unwrap_or_else(PoisonError::into_inner) <= Instant::now() {
            let dead = self.receive(&self.place.dead, most, Duration::ZERO).await?;
            if !dead.is_empty() {
                return Ok(dead);
            }
            *self.dead_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + DEAD;
        }
        self.receive(&self.place.commands, most, WAIT).await
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<(), Error> {
        for (mark, url) in [('q', &self.place.commands), ('d', &self.place.dead)] {
            let handles: Vec<&str> = receipts.iter().filter_map(|one| one.position.strip_prefix(mark)).collect();
            for some in handles.chunks(TOGETHER) {
                let entries: Vec<Value> = some
                    .iter()
                    .enumerate()
                    .map(|(id, handle)| json!({ "Id": id.to_string(), "ReceiptHandle": handle }))
                    .collect();
                // What it does not delete is given out again, and known.
                let told = self
                    .client
                    .must("DeleteMessageBatch", &json!({ "QueueUrl": url, "Entries": entries }), Duration::ZERO)
                    .await?;
                if at(&told, "/Failed").as_array().is_some_and(|failed| !failed.is_empty()) {
                    tracing::warn!(queue = self.queue.name(), failed = %at(&told, "/Failed"), "commands that are done are not deleted");
                }
                let mut open = held(&self.open);
                for handle in some {
                    open.remove(&(url.clone(), (*handle).to_owned()));
                }
            }
        }
        Ok(())
    }

    async fn lag(&self) -> Result<Vec<(Topic, u64)>, Error> {
        let (waiting, _) = self.queues.depth(&self.place).await?;
        Ok(vec![(Topic::of_queue(self.queue), waiting)])
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        if let Some(asking) = self.asking.take() {
            asking.abort();
        }
        // The next reader need not wait for their time to be over; but a question that is still with SQS would be given them.
        let left: Vec<_> = held(&self.open).drain().collect();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let client = Arc::clone(&self.client);
            runtime.spawn(async move {
                tokio::time::sleep(2 * WAIT).await;
                visible_after(&client, left, Duration::ZERO).await;
            });
        }
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("queue", &self.queue.name()).finish_non_exhaustive()
    }
}
