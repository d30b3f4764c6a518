//! What is set aside, and what waits until the database lets it: the way of an event that was not handled.

use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use super::{died::Hook, turn::Turn};
use crate::{
    Encoding, Event, Failure, Topic,
    bus::Receipt,
    store::{self, inbox::Standing},
};

/// Between two tries while the database is away.
const FIRST_BREATH: Duration = Duration::from_millis(20);
/// The longest of them.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// Growing pauses between tries of what is safe to repeat, until the database lets it happen.
pub(super) struct Breath<'a> {
    consumer: &'a str,
    hindered: &'a watch::Sender<bool>,
    next: Duration,
}

impl Breath<'_> {
    pub(super) async fn draw(&mut self, failure: &Failure) {
        match failure {
            Failure::Transient(_) | Failure::Away { .. } => {
                tracing::debug!(%failure, consumer = self.consumer, "an event waits for what is away");
            }
            _ => tracing::warn!(%failure, consumer = self.consumer, "the database refuses what is known of an event"),
        }
        self.hindered.send_replace(true);
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 3).min(LAST_BREATH);
    }
}

impl Turn<'_> {
    pub(super) fn breath(&self) -> Breath<'_> {
        Breath { consumer: &self.consumer.name, hindered: &self.hindered, next: FIRST_BREATH }
    }

    /// Sets a failed event aside; answers when what is held is to be looked at.
    pub(super) async fn keep(&self, event: &Event, failure: &Failure) -> Option<Instant> {
        let mut standing = self.standing(1, failure, event.topic.as_str());
        let (mut breath, mut hook) = (self.breath(), self.hook(failure));
        while let Err(refused) = self.try_keep(event, &standing, &hook).await {
            if hook.refused(&refused, &mut standing) {
                breath.draw(&refused).await;
                continue;
            }
            if !matches!(refused, Failure::Transient(_)) && self.bury_as_shown(event, &refused).await {
                break;
            }
            breath.draw(&refused).await;
        }
        // A dead letter is to be counted, and may be asked for.
        Some(Instant::now() + super::until(standing.now, standing.due))
    }

    /// Sets aside what an event looks like, which the database will not have as it is (as one whose key no index takes).
    async fn bury_as_shown(&self, event: &Event, refused: &Failure) -> bool {
        let failure = Failure::permanent("UNREADABLE", refused.to_string());
        let standing = self.standing(1, &failure, event.topic.as_str());
        self.try_keep(&self.bare(event), &standing, &Hook::none()).await.is_ok()
    }

    pub(super) fn standing(&self, failures: u32, failure: &Failure, topic: &str) -> Standing {
        let parts = &self.consumer.parts;
        let now = parts.clock.now();
        let pause = match failure {
            Failure::Permanent { .. } => None,
            _ => parts.options.retry_delay(failures, rand::random()),
        };
        let consumer = &self.consumer.name;
        if pause.is_none() {
            tracing::error!(consumer, topic, failures, reason = failure.reason(), "an event is a dead letter");
        } else {
            tracing::warn!(consumer, topic, failures, reason = failure.reason(), "an event is tried again later");
        }
        let due =
            pause.and_then(|pause| SignedDuration::try_from(pause).ok()).and_then(|pause| now.checked_add(pause).ok());
        Standing {
            state: if pause.is_some() { "retry" } else { "dead" },
            failures,
            reason: text(failure.reason()),
            error: text(&failure.to_string()),
            now,
            due: due.unwrap_or(now),
        }
    }

    async fn try_keep(&self, event: &Event, standing: &Standing, hook: &Hook) -> Result<(), Failure> {
        let (sql, name) = (&self.consumer.sql, &self.consumer.name);
        let mut transaction = coreloop_db::begin(&self.consumer.parts.db).await?;
        // Kept before, its hook was called before.
        if store::inbox::hold(&mut transaction, sql, name, event, standing).await? && standing.state == "dead" {
            self.mourn(&mut transaction, event, hook).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// The first that the key holds: the event, its failures, and when it is due.
    pub(super) async fn head(&self) -> Option<(Event, u32, Timestamp)> {
        let mut breath = self.breath();
        loop {
            match self.try_head().await {
                Ok(head) => return head,
                Err(failure @ Failure::Transient(_)) => breath.draw(&failure).await,
                // As it will tomorrow: a dead letter, so that what waits behind it goes on.
                Err(failure) => {
                    tracing::error!(%failure, consumer = self.consumer.name, "a held event cannot be read");
                    if let Err(refused) = self.bury_head(&failure).await {
                        breath.draw(&refused).await;
                    }
                }
            }
        }
    }

    async fn bury_head(&self, failure: &Failure) -> Result<(), Failure> {
        let mut connection = self.consumer.parts.db.acquire().await?;
        let (head, now) = ((self.consumer.name.as_str(), self.key.as_str()), self.consumer.parts.clock.now());
        let error = text(&failure.to_string());
        Ok(store::inbox::bury_first(&mut connection, &self.consumer.sql, head, &error, now).await?)
    }

    async fn try_head(&self) -> Result<Option<(Event, u32, Timestamp)>, Failure> {
        let mut connection = self.consumer.parts.db.acquire().await?;
        Ok(store::inbox::head(&mut connection, &self.consumer.sql, &self.consumer.name, &self.key).await?)
    }

    /// Notes one more failure of a held event.
    pub(super) async fn settle(&self, event: &Event, mut standing: Standing, failure: &Failure) {
        let (mut breath, mut hook) = (self.breath(), self.hook(failure));
        while let Err(refused) = self.try_settle(event, &standing, &hook).await {
            hook.refused(&refused, &mut standing);
            breath.draw(&refused).await;
        }
    }

    async fn try_settle(&self, event: &Event, standing: &Standing, hook: &Hook) -> Result<(), Failure> {
        let (sql, name) = (&self.consumer.sql, &self.consumer.name);
        let mut transaction = coreloop_db::begin(&self.consumer.parts.db).await?;
        store::inbox::settle(&mut transaction, sql, name, event.id, standing).await?;
        if standing.state == "dead" {
            self.mourn(&mut transaction, event, hook).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// What cannot be read as an event, as one that can be kept: the same however often it comes. Where a broker has places that
    /// last, what it shows tells them apart; a delivery's number is none.
    pub(super) fn unreadable(&self, receipt: &Receipt, shown: &str) -> Event {
        let id = Uuid::from_u128(fingerprint(&[receipt.topic.as_str(), shown]));
        self.shown(receipt.topic.clone(), id, shown)
    }

    /// An event as what it looks like.
    pub(super) fn bare(&self, event: &Event) -> Event {
        self.shown(event.topic.clone(), event.id, &format!("{event:?}"))
    }

    fn shown(&self, topic: Topic, id: Uuid, shown: &str) -> Event {
        Event {
            topic,
            key: String::new(),
            id,
            sequence: 0,
            version: 0,
            source: String::new(),
            trace_id: String::new(),
            traceparent: String::new(),
            request_id: String::new(),
            created_at: self.consumer.parts.clock.now(),
            encoding: Encoding::Json,
            payload: Bytes::from(shown.to_owned()),
        }
    }
}

/// As a database keeps it, and no longer than anybody reads.
pub(super) fn text(of: &str) -> String {
    of.replace('\0', "\u{fffd}").chars().take(2_000).collect()
}

/// FNV-1a of the parts, in 128 bits: stable across builds.
fn fingerprint(parts: &[&str]) -> u128 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}
