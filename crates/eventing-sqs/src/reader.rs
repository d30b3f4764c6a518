//! A reader of a queue and of its dead letters.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    client::{self, Client, at},
    queues::{Place, Queues},
};

/// Longest wait for news in one call.
const WAIT: Duration = Duration::from_secs(1);

/// Between two looks at the dead letters, while there are none.
const DEAD: Duration = Duration::from_secs(5);

/// Dropped, it gives back what it had for so long at most; what is not given back by then comes again by itself.
const RELEASE: Duration = Duration::from_secs(5);

/// A message that was given out: the queue's address and the handle.
type Handle = (String, String);

/// What was given out and not acknowledged.
type Open = Arc<Mutex<HashSet<Handle>>>;

/// A question for messages, of which queue, and what it brought.
type Question = JoinHandle<Result<(String, Vec<Value>), Error>>;

/// Dropped, what it had not acknowledged is given out again.
pub(crate) struct Messages {
    queue: Queue,
    place: Place,
    time: Duration,
    client: Arc<Client>,
    queues: Arc<Queues>,
    open: Open,
    /// Done, and not deleted by SQS, which said no for the moment.
    undeleted: Mutex<Vec<Handle>>,
    /// What is asked goes on when nobody waits for it any more: what it brings is this reader's.
    question: tokio::sync::Mutex<Option<Question>>,
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
                    tokio::time::sleep(time / 4).await;
                    let all = held(&open).iter().cloned().collect();
                    // An answer that is late must not cost what another would have saved.
                    if tokio::time::timeout(time / 4, visible_after(&client, all, time)).await.is_err() {
                        tracing::warn!("SQS is late with more time for commands");
                    }
                }
            })
        });
        let (undeleted, question, dead_at) = (Mutex::default(), tokio::sync::Mutex::default(), Instant::now());
        Self { queue, place, time, client, queues, open, undeleted, question, dead_at: Mutex::new(dead_at), asking }
    }

    /// Asks for messages: of the dead letters when it is their time.
    fn ask(&self, most: usize) -> Question {
        let dead = *held(&self.dead_at) <= Instant::now();
        let (url, wait) = if dead { (&self.place.dead, Duration::ZERO) } else { (&self.place.commands, WAIT) };
        let asked = json!({
            "QueueUrl": url,
            "MaxNumberOfMessages": most.clamp(1, TOGETHER),
            "WaitTimeSeconds": wait.as_secs(),
            // A queue may have been made with another time than is asked for afterwards.
            "VisibilityTimeout": self.time.as_secs(),
            "AttributeNames": ["ApproximateReceiveCount"],
        });
        let (client, url) = (Arc::clone(&self.client), url.clone());
        let runtime = tokio::runtime::Handle::current();
        runtime.spawn(async move {
            let mut told = client.must("ReceiveMessage", &asked, wait).await?;
            let messages = told.get_mut("Messages").map(Value::take);
            Ok((url, serde_json::from_value(messages.unwrap_or_default()).unwrap_or_default()))
        })
    }

    /// Deletes what is done. What SQS does not delete it gives out again, and it is known.
    async fn delete(&self, mut done: Vec<Handle>) -> Result<(), Error> {
        done.sort_unstable();
        for of_queue in done.chunk_by(|one, other| one.0 == other.0) {
            for some in of_queue.chunks(TOGETHER) {
                let entries: Vec<Value> = some
                    .iter()
                    .enumerate()
                    .map(|(id, (_, handle))| json!({ "Id": id.to_string(), "ReceiptHandle": handle }))
                    .collect();
                let Some((url, _)) = some.first() else { continue };
                let asked = json!({ "QueueUrl": url, "Entries": entries });
                let told = match self.client.must("DeleteMessageBatch", &asked, Duration::ZERO).await {
                    Ok(told) => told,
                    Err(error) if client::passing(&error) => {
                        tracing::warn!(%error, queue = self.queue.name(), "commands that are done are not deleted yet");
                        held(&self.undeleted).extend_from_slice(some);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                if at(&told, "/Failed").as_array().is_some_and(|failed| !failed.is_empty()) {
                    tracing::warn!(queue = self.queue.name(), failed = %at(&told, "/Failed"), "commands that are done are not deleted");
                }
                let mut open = held(&self.open);
                for one in some {
                    open.remove(one);
                }
            }
        }
        Ok(())
    }

    fn delivery(&self, url: &str, message: &Value) -> Option<Delivery> {
        let (topic, handle) = (Topic::of_queue(self.queue), handle(message)?);
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

fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn handle(message: &Value) -> Option<&str> {
    at(message, "/ReceiptHandle").as_str()
}

/// Puts off that messages are given out again. One that is gone meanwhile is as good.
async fn visible_after(client: &Client, mut messages: Vec<Handle>, time: Duration) {
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
        let undeleted = std::mem::take(&mut *held(&self.undeleted));
        self.delete(undeleted).await?;
        let mut question = self.question.lock().await;
        let answer = question.get_or_insert_with(|| self.ask(most)).await;
        *question = None;
        match answer.unwrap_or_else(|ended| Err(Error::Broker(ended.into()))) {
            Ok((url, messages)) => {
                if url == self.place.dead && messages.is_empty() {
                    *held(&self.dead_at) = Instant::now() + DEAD;
                }
                Ok(messages.iter().filter_map(|message| self.delivery(&url, message)).collect())
            }
            // What it has goes on: whoever began anew would have all of it again.
            Err(error) if client::passing(&error) => {
                tracing::warn!(%error, queue = self.queue.name(), "commands are not read for the moment");
                tokio::time::sleep(WAIT).await;
                Ok(Vec::new())
            }
            Err(error) => {
                if client::refusal(&error).is_some_and(client::Refusal::no_queue) {
                    self.queues.forget(self.queue).await;
                }
                Err(error)
            }
        }
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<(), Error> {
        let done = receipts.iter().filter_map(|one| {
            let dead = one.position.strip_prefix('d').map(|handle| (&self.place.dead, handle));
            dead.or_else(|| Some((&self.place.commands, one.position.strip_prefix('q')?)))
        });
        self.delete(done.map(|(url, handle)| (url.clone(), handle.to_owned())).collect()).await
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
        // The next reader need not wait for their time to be over.
        let left: Vec<_> = held(&self.open).drain().collect();
        let question = self.question.get_mut().take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let client = Arc::clone(&self.client);
            runtime.spawn(async move {
                let giving_back = async {
                    visible_after(&client, left, Duration::ZERO).await;
                    // A question that is still with SQS is given messages, and may be given just those.
                    let Some(question) = question else { return };
                    if let Ok(Ok((url, messages))) = question.await {
                        let brought = messages.iter().filter_map(handle);
                        let brought = brought.map(|handle| (url.clone(), handle.to_owned())).collect();
                        visible_after(&client, brought, Duration::ZERO).await;
                    }
                };
                if tokio::time::timeout(RELEASE, giving_back).await.is_err() {
                    tracing::warn!("commands are not given back; they come again by themselves");
                }
            });
        }
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("queue", &self.queue.name()).finish_non_exhaustive()
    }
}
