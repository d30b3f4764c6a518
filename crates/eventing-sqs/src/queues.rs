//! The queues of a queue: one FIFO queue, and one for what SQS gives up.

use std::{collections::HashMap, sync::Arc, time::Duration};

use coreloop_eventing::{Error, Queue};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::{
    Options,
    client::{Client, at},
};

/// The longest that SQS keeps anything: what is older it drops without a word, which a reader is to do before it.
const RETENTION_SECS: &str = "1209600";

/// Addresses of a queue.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) commands: String,
    pub(crate) dead: String,
}

/// Queues that are known to be there.
pub(crate) struct Queues {
    client: Arc<Client>,
    options: Options,
    known: Mutex<HashMap<Queue, Place>>,
}

impl Queues {
    pub(crate) fn new(client: Arc<Client>, options: &Options) -> Self {
        Self { client, options: options.clone(), known: Mutex::default() }
    }

    /// The addresses of a queue, which is made unless it is there.
    pub(crate) async fn of(&self, queue: Queue) -> Result<Place, Error> {
        let mut known = self.known.lock().await;
        if let Some(place) = known.get(&queue) {
            return Ok(place.clone());
        }
        let name = |end: &str| format!("{}cmd-{}{end}.fifo", self.options.prefix, queue.name().replace('.', "-"));
        let mut shape = Map::new();
        for (key, value) in [
            ("FifoQueue", "true"),
            ("MessageRetentionPeriod", RETENTION_SECS),
            ("VisibilityTimeout", &self.options.visibility_secs.to_string()),
        ] {
            shape.insert(key.to_owned(), value.into());
        }
        let dead = self.ensure(&name("-dead"), &shape).await?;
        let asked = json!({ "QueueUrl": dead, "AttributeNames": ["QueueArn"] });
        let told = self.client.must("GetQueueAttributes", &asked, Duration::ZERO).await?;
        let redrive = json!({
            "deadLetterTargetArn": at(&told, "/Attributes/QueueArn"),
            "maxReceiveCount": self.options.delivery_limit.to_string(),
        });
        shape.insert("RedrivePolicy".to_owned(), redrive.to_string().into());
        let place = Place { commands: self.ensure(&name(""), &shape).await?, dead };
        known.insert(queue, place.clone());
        Ok(place)
    }

    /// Somebody has taken it away: it is looked for, or made, again.
    pub(crate) async fn forget(&self, queue: Queue) {
        self.known.lock().await.remove(&queue);
    }

    async fn ensure(&self, name: &str, shape: &Map<String, Value>) -> Result<String, Error> {
        let found = self.client.ask("GetQueueUrl", &json!({ "QueueName": name }), Duration::ZERO).await?;
        let made = match found {
            Ok(told) => told,
            Err(refusal) if self.options.create && refusal.no_queue() => {
                let asked = json!({ "QueueName": name, "Attributes": shape });
                self.client.must("CreateQueue", &asked, Duration::ZERO).await?
            }
            Err(refusal) => return Err(Error::Broker(refusal.into())),
        };
        let url =
            at(&made, "/QueueUrl").as_str().ok_or_else(|| Error::Broker(format!("no address of {name}").into()))?;
        Ok(url.to_owned())
    }

    /// Commands that wait, or are given out; as SQS believes.
    pub(crate) async fn depth(&self, place: &Place) -> Result<(u64, u64), Error> {
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let asked = json!({ "QueueUrl": place.commands, "AttributeNames": names });
        let told = self.client.must("GetQueueAttributes", &asked, Duration::ZERO).await?;
        let [waiting, given] =
            names.map(|name| at(&told, &format!("/Attributes/{name}")).as_str().and_then(|count| count.parse().ok()));
        Ok((waiting.unwrap_or_default(), given.unwrap_or_default()))
    }
}
