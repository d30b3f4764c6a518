//! Command queues on RabbitMQ (chapter 06, item 5).
//!
//! A queue of ours is a few lanes, each a quorum queue of the broker: a command's key says its lane, and a lane gives out one
//! command at a time (prefetch 1, a single active consumer), acknowledged after the commit of what it did. So the order of a
//! key is the broker's own, also across a reader that dies, and many keys are worked on at once. Publishing is confirmed:
//! [`CommandBus::send`] answers when a majority of the broker has the command on disk.
//!
//! - **Nothing is dropped by the broker.** A full lane refuses (`reject-publish`, answered as [`Error::Full`] with what the other
//!   lanes have taken); a command that is too old, or that was given out too often by far, goes to the queue's dead letters (at
//!   least once), which the same reader takes into the consumer's database, where dead letters are looked after.
//! - **One reader.** The broker keeps a second one waiting until the first is gone; a reader whose machine is gone is noticed by
//!   its heartbeat, one that has lost its lease ends by itself.
//! - Rejected: one queue a queue, because prefetch 1 would then be one command at a time for all keys, and more than that loses
//!   the order when commands come back; classic queues, because a confirmed command would be gone with the disk of one node.

mod options;
mod reader;
mod topology;

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use coreloop_eventing::{Command, CommandBus, Error, Queue, SendError, bus::Reader};
use futures::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::sync::Mutex;
use uuid::Uuid;

pub use self::options::Options;
use self::topology::Topology;

/// Kept on disk.
const PERSISTENT: u8 = 2;

/// Command queues on RabbitMQ; clones share the connection that sends.
#[derive(Clone)]
pub struct RabbitBus {
    topology: Arc<Topology>,
    timeout: Duration,
    sending: Arc<Mutex<Option<Link>>>,
}

/// A connection that sends.
struct Link {
    connection: Connection,
    channel: Channel,
    declared: HashSet<Queue>,
}

impl RabbitBus {
    /// The broker of `options`. Connects at first use, and again after each failure.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let timeout = Duration::from_millis(options.timeout_ms);
        Self { topology: Arc::new(Topology::new(options)), timeout, sending: Arc::default() }
    }

    /// A channel that confirms, to a broker that has the queue.
    async fn sender(&self, queue: Queue) -> Result<Channel, Error> {
        let mut sending = self.sending.lock().await;
        let link = match sending.take().filter(Link::works) {
            Some(link) => sending.insert(link),
            None => sending.insert(Link::open(&self.topology).await?),
        };
        if !link.declared.contains(&queue) {
            self.topology.declare(&link.connection, queue).await?;
            link.declared.insert(queue);
        }
        Ok(link.channel.clone())
    }

    /// Publishes commands, those of a key one after the other: behind one that was refused nothing of its key is sent, for it
    /// might find room. `taken` are the places of those that were confirmed, as soon as they are.
    async fn publish(&self, queue: Queue, commands: &[Command], taken: &mut Vec<usize>) -> Result<(), Error> {
        let channel = self.sender(queue).await?;
        let (mut left, mut refused) = (commands.iter().enumerate().collect::<Vec<_>>(), HashSet::new());
        while !left.is_empty() {
            let (mut keys, mut later, mut confirms) = (HashSet::new(), Vec::new(), FuturesUnordered::new());
            let mut broken = None;
            for (place, command) in left {
                let key = command.key.as_str();
                if refused.contains(key) || broken.is_some() {
                    continue;
                }
                if !keys.insert(key) {
                    later.push((place, command));
                    continue;
                }
                match self.put(&channel, queue, command).await {
                    Ok(confirm) => confirms.push(confirm.map(move |said| (place, key, said))),
                    Err(error) => broken = Some(error),
                }
            }
            let (known, mut returned) = (taken.len(), false);
            // All of them, whatever one of them says: what was confirmed need not be sent again.
            while let Some((place, key, said)) = confirms.next().await {
                match said {
                    Ok(Confirmation::Ack(None)) => taken.push(place),
                    Ok(Confirmation::Nack(None)) => _ = refused.insert(key),
                    Ok(_) => returned = true,
                    Err(error) => broken = Some(broker(error)),
                }
            }
            if returned {
                // Somebody has taken the queue away: it is declared again with the next. What came back is told with any of the
                // confirmations, so none of them is believed.
                taken.truncate(known);
                *self.sending.lock().await = None;
                return Err(Error::Broker(format!("it has no queue {}", queue.name()).into()));
            }
            if let Some(error) = broken {
                return Err(error);
            }
            left = later;
        }
        if refused.is_empty() { Ok(()) } else { Err(Error::Full) }
    }

    async fn put(&self, channel: &Channel, queue: Queue, command: &Command) -> Result<PublisherConfirm, Error> {
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(command.idempotency_key.to_string().into());
        let route = self.topology.route(queue, &command.key);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, body) = (self.topology.exchange(), command.to_json()?);
        channel.basic_publish(exchange, route.into(), options, &body, properties).await.map_err(broker)
    }
}

impl Link {
    async fn open(topology: &Topology) -> Result<Self, Error> {
        let connection = connect(topology).await?;
        let channel = connection.create_channel().await.map_err(broker)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(broker)?;
        Ok(Self { connection, channel, declared: HashSet::new() })
    }

    fn works(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }
}

async fn connect(topology: &Topology) -> Result<Connection, Error> {
    let properties = ConnectionProperties::default().with_connection_name("coreloop".into());
    Connection::connect_uri(topology.address()?, properties).await.map_err(broker)
}

fn broker(error: lapin::Error) -> Error {
    Error::Broker(error.into())
}

#[async_trait]
impl CommandBus for RabbitBus {
    async fn send(&self, queue: Queue, commands: &[Command]) -> Result<(), SendError> {
        let mut taken = Vec::new();
        let sent = match tokio::time::timeout(self.timeout, self.publish(queue, commands, &mut taken)).await {
            Ok(sent) => sent,
            Err(_) => {
                // Nobody knows what became of what was not confirmed; the next begins anew.
                *self.sending.lock().await = None;
                Err(Error::Timeout)
            }
        };
        sent.map_err(|source| SendError { taken, source })
    }

    async fn work(&self, queue: Queue, token: Uuid) -> Result<Box<dyn Reader>, Error> {
        let joined =
            tokio::time::timeout(self.timeout, reader::Lanes::join(&self.topology, queue, token, self.timeout));
        Ok(Box::new(joined.await.map_err(|_| Error::Timeout)??))
    }
}

impl fmt::Debug for RabbitBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RabbitBus")
    }
}
