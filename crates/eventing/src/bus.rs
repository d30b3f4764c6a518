//! The bus as relay and consumers see it; a transport implements it.
//!
//! What a transport must hold: what [`Bus::publish`] has answered is kept, in the order given, per topic and key; one
//! publisher a source and one reader a group at a time, and whoever was replaced learns it ([`Error::Fenced`]) before it
//! can do harm; what was read and not acknowledged is read again by the next reader. With Redis Streams a group has one
//! reader, who handles many keys at once; with Kafka too, of all partitions: `lead` is `init_transactions`, `ack` moves
//! the offsets of partitions up to the oldest that is open.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{Error, Event, Topic};

/// Where a new group begins to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With the oldest event that is kept.
    #[default]
    Earliest,
    /// With what comes from now on.
    Latest,
    /// With the first event published at or after a time.
    At(Timestamp),
}

/// Who reads what.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The group: consumers of one group share the events, each group gets all.
    pub group: String,
    /// Topics.
    pub topics: Vec<Topic>,
    /// Where a group that is new begins.
    pub start: Start,
    /// Names this reader; the group's reader before it is fenced.
    pub token: Uuid,
}

/// What acknowledges a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Topic.
    pub topic: Topic,
    /// Place in it, as the transport counts.
    pub position: String,
}

/// An event as it was delivered; what cannot be read as one comes as the transport showed it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What acknowledges it.
    pub receipt: Receipt,
    /// The event.
    pub event: Result<Event, String>,
    /// The broker itself has given it up, for this reason (as `EXPIRED`): a dead letter, whatever a handler would say.
    pub buried: Option<&'static str>,
    /// It was delivered before and not acknowledged: somebody may have begun on it.
    pub again: bool,
}

/// A transport of events.
#[async_trait]
pub trait Bus: Debug + Send + Sync + 'static {
    /// Becomes the publisher of `source` under the name `token`. Answers the last publication that the broker still knows
    /// of; none when it does not lose what it has acknowledged.
    async fn lead(&self, source: &str, token: Uuid) -> Result<Option<Mark>, Error>;

    /// The last publication of `source` that the broker knows of, for whoever has nothing to publish; none when it does not
    /// lose what it has acknowledged.
    async fn known(&self, _source: &str) -> Result<Option<Mark>, Error> {
        Ok(None)
    }

    /// The longest that one publication takes, where it is not the process's `broker_timeout_ms`: for so long its publisher says
    /// nothing to anybody.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// Publishes a batch in order and answers when the broker has all of it. [`Error::Lost`] when the broker does not know
    /// of the batch before.
    async fn publish(&self, batch: Batch<'_>) -> Result<(), Error>;

    /// Joins a group as its reader. What the group's readers before left open comes first.
    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Reader>, Error>;

    /// Lets a group read again from `start`, within the retention. Events it has acted on have no second effect: they are
    /// remembered longer than the broker keeps them. What it has not read yet is never left out: a start ahead of it moves
    /// nothing, and may be [`Error::Ahead`].
    async fn rewind(&self, group: &str, topic: &Topic, start: Start) -> Result<(), Error>;

    /// Lets a group read again from a place on, with what is there: a place as [`Receipt::position`] says it, and no further back than
    /// the retention. [`Error::Name`] for what is no place of this transport.
    async fn rewind_to(&self, _group: &str, _topic: &Topic, place: &str) -> Result<(), Error> {
        Err(Error::Name(place.to_owned()))
    }
}

/// How far a source has published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// Batches ever.
    pub batches: i64,
    /// Everything up to this number is published; some above it may be.
    pub floor: i64,
}

/// What is published together.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Which outbox, as its schema.
    pub source: &'a str,
    /// The publisher.
    pub token: Uuid,
    /// What the broker knows from now on; it must know of one batch less.
    pub mark: Mark,
    /// Time, for retention.
    pub now: Timestamp,
    /// The events, in order.
    pub events: &'a [Event],
}

/// A place in a group.
#[async_trait]
pub trait Reader: Debug + Send + Sync {
    /// Up to `most` deliveries; waits a while for some and may answer none. Dropped in the midst, what it had taken is
    /// delivered to the next reader of the group.
    async fn next(&self, most: usize) -> Result<Vec<Delivery>, Error>;

    /// Says that deliveries have had their effect, in one round trip however many they are.
    async fn ack(&self, receipts: &[Receipt]) -> Result<(), Error>;

    /// Events that the group has not been given yet, by topic; a topic is left out when the broker cannot tell. Asked while others
    /// wait in [`Reader::next`] and [`Reader::ack`].
    async fn lag(&self) -> Result<Vec<(Topic, u64)>, Error>;
}
