//! The one reader of a queue: its lanes and its dead letters.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use coreloop_eventing::{
    Command, Error, Queue, Topic,
    bus::{Delivery, Reader, Receipt},
};
use futures::{FutureExt as _, StreamExt as _, stream, stream::BoxStream, stream::SelectAll};
use lapin::{
    Channel, Connection,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{broker, connect, topology::Topology};

/// Longest wait for news in one call.
const WAIT: Duration = Duration::from_millis(1_000);

type Given = Result<lapin::message::Delivery, Error>;

/// Dropped, its connection ends, and what it had not acknowledged goes back to the front of its lane.
///
/// The connection ends before its consumers do: one that is cancelled alone keeps what it was given while its successor is
/// given what follows.
pub(crate) struct Lanes {
    queue: Queue,
    names: Vec<String>,
    timeout: Duration,
    channel: Channel,
    given: Arc<Mutex<SelectAll<BoxStream<'static, Given>>>>,
    connection: Option<Connection>,
}

impl Lanes {
    pub(crate) async fn join(topology: &Topology, queue: Queue, token: Uuid, timeout: Duration) -> Result<Self, Error> {
        let connection = connect(topology).await?;
        topology.declare(&connection, queue).await?;
        let channel = connection.create_channel().await.map_err(broker)?;
        // Of each consumer: one command of a lane at a time.
        channel.basic_qos(1, BasicQosOptions::default()).await.map_err(broker)?;
        let names: Vec<String> = topology.lanes(queue).collect();
        let mut given = SelectAll::new();
        for name in names.iter().chain([&topology.dead(queue)]) {
            let tag = format!("{token}.{name}");
            let options = BasicConsumeOptions::default();
            let consumer = channel.basic_consume(name.as_str().into(), tag.into(), options, FieldTable::default());
            // A consumer that ends was taken away, as with its queue; the others would go on without it.
            let ended = stream::once(async { Err(Error::Fenced) });
            given.push(consumer.await.map_err(broker)?.map(|one| one.map_err(broker)).chain(ended).boxed());
        }
        Ok(Self { queue, names, timeout, channel, given: Arc::new(Mutex::new(given)), connection: Some(connection) })
    }

    fn delivery(&self, given: &lapin::message::Delivery) -> Delivery {
        let topic = Topic::of_queue(self.queue);
        let shown = || format!("{topic}: {}", String::from_utf8_lossy(&given.data));
        let event = Command::from_json(self.queue, &given.data).map(Command::into_event).ok_or_else(shown);
        Delivery {
            event,
            buried: buried(given.properties.headers().as_ref()),
            again: given.redelivered,
            receipt: Receipt { topic, position: given.delivery_tag.to_string() },
        }
    }
}

/// Why the broker has given a command up, if it has.
fn buried(headers: Option<&FieldTable>) -> Option<&'static str> {
    let AMQPValue::LongString(reason) = headers?.inner().get("x-first-death-reason")? else { return None };
    Some(match reason.as_bytes() {
        b"expired" => "EXPIRED",
        b"delivery_limit" => "DELIVERY_LIMIT",
        _ => "REJECTED",
    })
}

#[async_trait]
impl Reader for Lanes {
    async fn next(&self, most: usize) -> Result<Vec<Delivery>, Error> {
        let mut given = self.given.lock().await;
        let first = match tokio::time::timeout(WAIT, given.next()).await {
            Ok(Some(first)) => first?,
            Ok(None) => return Err(Error::Fenced),
            Err(_) => return Ok(Vec::new()),
        };
        let mut deliveries = vec![self.delivery(&first)];
        while deliveries.len() < most {
            match given.next().now_or_never() {
                Some(Some(next)) => deliveries.push(self.delivery(&next?)),
                Some(None) => return Err(Error::Fenced),
                None => break,
            }
        }
        Ok(deliveries)
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<(), Error> {
        let all = async {
            for receipt in receipts {
                let tag = receipt.position.parse().map_err(|_| Error::Name(receipt.position.clone()))?;
                self.channel.basic_ack(tag, BasicAckOptions::default()).await.map_err(broker)?;
            }
            Ok(())
        };
        tokio::time::timeout(self.timeout, all).await.map_err(|_| Error::Timeout)?
    }

    async fn lag(&self) -> Result<Vec<(Topic, u64)>, Error> {
        let counted = async {
            let mut waiting = 0;
            for name in &self.names {
                let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                let told = self.channel.queue_declare(name.as_str().into(), look, FieldTable::default()).await;
                waiting += u64::from(told.map_err(broker)?.message_count());
            }
            Ok(vec![(Topic::of_queue(self.queue), waiting)])
        };
        tokio::time::timeout(self.timeout, counted).await.map_err(|_| Error::Timeout)?
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        let (connection, given) = (self.connection.take(), Arc::clone(&self.given));
        if let (Some(connection), Ok(runtime)) = (connection, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _gone_is_as_good = connection.close(200, "left".into()).await;
                drop(given);
            });
        }
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("queue", &self.queue.name()).finish_non_exhaustive()
    }
}
