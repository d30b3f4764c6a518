//! Topics are made before they are used, with their partitions and retention, so that nobody meets a broker's defaults.

use std::{collections::HashSet, time::Duration};

use coreloop_eventing::{Error, Topic};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    types::RDKafkaErrorCode,
};
use tokio::sync::Mutex;

use crate::{Options, broker};

/// Kafka drops whole segments, each when the newest in it is past retention: so much longer is the oldest kept. It must be less
/// than the day by which what was acted on is known longer than it is kept, or a group that reads all again acts again.
const SEGMENT_MS: &str = "21600000";

pub(crate) struct Topics {
    options: Options,
    retention: Duration,
    known: Mutex<HashSet<Topic>>,
}

impl Topics {
    pub(crate) fn new(options: Options, retention: Duration) -> Self {
        Self { options, retention, known: Mutex::default() }
    }

    /// Makes a topic unless it is there.
    pub(crate) async fn ensure(&self, topic: &Topic) -> Result<(), Error> {
        let mut known = self.known.lock().await;
        if known.contains(topic) {
            return Ok(());
        }
        let admin: AdminClient<DefaultClientContext> = self.options.client().create().map_err(broker)?;
        let (name, retention) = (self.options.named(topic.as_str()), self.retention.as_millis().to_string());
        let made = NewTopic::new(&name, self.options.partitions, TopicReplication::Fixed(self.options.replication))
            .set("retention.ms", &retention)
            .set("max.message.bytes", crate::MOST_BYTES)
            .set("segment.ms", SEGMENT_MS);
        let patience = AdminOptions::new()
            .request_timeout(Some(self.options.timeout()))
            .operation_timeout(Some(self.options.timeout()));
        let outcomes = admin.create_topics([&made], &patience).await.map_err(broker)?;
        for outcome in outcomes {
            match outcome {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(Error::Broker(format!("topic {name}: {code}").into())),
            }
        }
        known.insert(topic.clone());
        Ok(())
    }
}
