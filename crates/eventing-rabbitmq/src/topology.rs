//! What is declared at the broker: exchanges, lanes, dead letters.

use coreloop_eventing::{Error, Queue};
use lapin::{
    Channel, Connection, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
    uri::AMQPUri,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{Options, broker};

/// The broker buries what is old a little later than a reader would: then it was nobody's turn.
const GRACE_SECS: u32 = 60;

/// Names and arguments.
pub(crate) struct Topology {
    url: SecretString,
    prefix: String,
    lanes: u32,
    delivery_limit: u32,
    heartbeat_secs: u16,
}

impl Topology {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            url: options.url.clone(),
            prefix: options.prefix.clone(),
            lanes: options.lanes.max(1),
            delivery_limit: options.delivery_limit,
            heartbeat_secs: options.heartbeat_secs,
        }
    }

    pub(crate) fn address(&self) -> Result<AMQPUri, Error> {
        let mut address: AMQPUri =
            self.url.expose_secret().parse().map_err(|error: String| Error::Broker(error.into()))?;
        address.query.heartbeat = Some(self.heartbeat_secs);
        Ok(address)
    }

    /// The topic exchange that commands are sent to.
    pub(crate) fn exchange(&self) -> ShortString {
        format!("{}commands", self.prefix).into()
    }

    fn graveyard(&self) -> ShortString {
        format!("{}commands.dead", self.prefix).into()
    }

    /// The routing key of a command: its queue, and the lane of its key.
    pub(crate) fn route(&self, queue: Queue, key: &str) -> String {
        format!("{}.{}", queue.name(), fnv(key) % u64::from(self.lanes))
    }

    /// The broker's queues of a queue.
    pub(crate) fn lanes(&self, queue: Queue) -> impl Iterator<Item = String> {
        (0..self.lanes).map(move |lane| format!("{}cmd.{}.{lane}", self.prefix, queue.name()))
    }

    /// Where the broker puts what it gives up.
    pub(crate) fn dead(&self, queue: Queue) -> String {
        format!("{}cmd.{}.dead", self.prefix, queue.name())
    }

    /// Declares all that belongs to a queue; what is there stays. On a channel of its own, because a refusal ends it.
    pub(crate) async fn declare(&self, connection: &Connection, queue: Queue) -> Result<(), Error> {
        let channel = connection.create_channel().await.map_err(broker)?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        for exchange in [self.exchange(), self.graveyard()] {
            let declared = channel.exchange_declare(exchange, ExchangeKind::Topic, durable, FieldTable::default());
            declared.await.map_err(broker)?;
        }
        bound(&channel, &self.dead(queue), quorum(), self.graveyard(), queue.name()).await?;
        for (lane, name) in self.lanes(queue).enumerate() {
            let route = format!("{}.{lane}", queue.name());
            bound(&channel, &name, self.arguments(queue), self.exchange(), &route).await?;
        }
        channel.close(200, "declared".into()).await.map_err(broker)
    }

    fn arguments(&self, queue: Queue) -> FieldTable {
        let mut arguments = quorum();
        let mut set = |name: &str, value: AMQPValue| {
            arguments.insert(name.into(), value);
        };
        set("x-dead-letter-exchange", AMQPValue::LongString(self.graveyard().as_str().into()));
        set("x-dead-letter-routing-key", AMQPValue::LongString(queue.name().into()));
        set("x-dead-letter-strategy", AMQPValue::LongString("at-least-once".into()));
        set("x-overflow", AMQPValue::LongString("reject-publish".into()));
        set("x-max-length", AMQPValue::LongLongInt(queue.most().div_ceil(self.lanes).into()));
        set("x-message-ttl", AMQPValue::LongLongInt(i64::from(queue.ttl_secs() + GRACE_SECS) * 1_000));
        set("x-delivery-limit", AMQPValue::LongLongInt(self.delivery_limit.into()));
        arguments
    }
}

/// A quorum queue with one reader at a time.
fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    arguments
}

async fn bound(
    channel: &Channel,
    queue: &str,
    arguments: FieldTable,
    exchange: ShortString,
    route: &str,
) -> Result<(), Error> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), durable, arguments).await.map_err(broker)?;
    let binding = QueueBindOptions::default();
    channel.queue_bind(queue.into(), exchange, route.into(), binding, FieldTable::default()).await.map_err(broker)
}

/// FNV-1a: every process, of any version, sends a key to the same lane.
fn fnv(key: &str) -> u64 {
    key.bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_key_has_one_lane_and_keys_have_many() {
        let topology = Topology::new(&Options::default());
        let route = |key: &str| topology.route(Queue::SHOP_SETTLE, key);
        assert_eq!(route("a"), "shop.settle.4");
        let all: HashSet<String> = (0..100).map(|key| route(&key.to_string())).collect();
        assert_eq!(all.len(), 8, "{all:?}");
    }
}
