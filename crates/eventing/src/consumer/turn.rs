//! The turn of one key: an event is handled, found done, or held.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use coreloop_service::{Call, Target};
use futures::FutureExt as _;
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{Consumer, lanes::Work};
use crate::{
    Encoding, Event, Failure,
    bus::{Delivery, Reader},
    store::{
        self,
        inbox::{Claim, Standing},
    },
};

/// An event that was acted on is known for so long.
const REMEMBER: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Between two tries while the database is away.
const FIRST_BREATH: Duration = Duration::from_millis(20);
/// The longest of them.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// A turn that is to be taken.
pub(super) struct Turn<'a> {
    pub(super) consumer: &'a Consumer,
    pub(super) reader: &'a dyn Reader,
    pub(super) key: String,
    pub(super) work: Work,
}

/// Growing pauses between tries of what is safe to repeat, until the database lets it happen.
struct Breath<'a> {
    consumer: &'a str,
    next: Duration,
}

impl Breath<'_> {
    async fn draw(&mut self, failure: &Failure) {
        tracing::debug!(%failure, consumer = self.consumer, "the database is in the way of an event");
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 3).min(LAST_BREATH);
    }
}

/// What became of a try.
enum Outcome {
    /// It has had its effect, now or before.
    Done(&'static str),
    /// It waits behind another of its key.
    Behind,
    Failed(Failure),
}

impl Turn<'_> {
    /// Takes the turn. Answers the key, and when something of it is to be tried again.
    pub(super) async fn take(self) -> (String, Option<Instant>) {
        let again = match &self.work {
            Work::Delivered(delivery) => self.delivered(delivery).await,
            Work::Held => self.held().await,
        };
        (self.key, again)
    }

    async fn delivered(&self, delivery: &Delivery) -> Option<Instant> {
        let again = match &delivery.event {
            Ok(event) => match self.decide(event, false).await {
                Outcome::Done(_) | Outcome::Behind => None,
                Outcome::Failed(failure) => self.keep(event, &failure).await,
            },
            Err(shown) => {
                self.keep(&self.unreadable(delivery, shown), &Failure::permanent("UNREADABLE", shown.clone())).await
            }
        };
        if let Err(error) = self.reader.ack(&delivery.receipt).await {
            // It is delivered again one day, and found done.
            tracing::debug!(%error, consumer = self.consumer.name, "an event was not acknowledged");
        }
        again
    }

    /// Works through what the key holds, from its head, until something is not due or fails.
    async fn held(&self) -> Option<Instant> {
        loop {
            let (event, failures, due) = self.head().await?;
            let now = self.consumer.parts.clock.now();
            if due > now {
                return Some(Instant::now() + super::until(now, due));
            }
            if let Outcome::Failed(failure) = self.decide(&event, true).await {
                let standing = self.standing(failures + 1, &failure, "");
                self.settle(&event, &standing).await;
                if standing.state == "retry" {
                    return Some(Instant::now() + super::until(standing.now, standing.due));
                }
            }
        }
    }

    /// One try, and more while only the database is in the way.
    async fn decide(&self, event: &Event, held: bool) -> Outcome {
        let mut breath = self.breath();
        let outcome = loop {
            match self.transact(event, held).await {
                Ok(outcome) => break outcome,
                Err(failure @ Failure::Transient(_)) => breath.draw(&failure).await,
                Err(failure) => break Outcome::Failed(failure),
            }
        };
        let name = match &outcome {
            Outcome::Done(name) => name,
            Outcome::Behind => "waiting",
            Outcome::Failed(_) => "failed",
        };
        let parts = &self.consumer.parts;
        parts.metrics.handled(&self.consumer.name, name, event, parts.clock.now());
        outcome
    }

    fn breath(&self) -> Breath<'_> {
        Breath { consumer: &self.consumer.name, next: FIRST_BREATH }
    }

    /// Claims, handles and notes the event in one transaction.
    async fn transact(&self, event: &Event, held: bool) -> Result<Outcome, Failure> {
        let (parts, sql, name) = (&self.consumer.parts, &self.consumer.sql, &self.consumer.name);
        let now = parts.clock.now();
        let expires = now.saturating_add(REMEMBER).unwrap_or(Timestamp::MAX);
        let mut transaction = coreloop_db::begin(&parts.db).await?;
        let claim = store::inbox::claim(&mut transaction, sql, (name, event, held), now, expires).await?;
        let outcome = match claim {
            Claim::Mine => {
                self.handle(&mut transaction, event).await?;
                Outcome::Done("handled")
            }
            Claim::Done => Outcome::Done("known"),
            Claim::Behind => {
                let waiting = Standing {
                    state: "waiting",
                    failures: 0,
                    reason: String::new(),
                    error: String::new(),
                    now,
                    due: now,
                };
                store::inbox::hold(&mut transaction, sql, name, event, &waiting).await?;
                Outcome::Behind
            }
        };
        if held {
            store::inbox::release(&mut transaction, sql, name, event.id).await?;
        }
        transaction.commit().await?;
        Ok(outcome)
    }

    /// The handler, as a call of its own in the event's trace, bounded in time; its panic is a failure like another.
    async fn handle(&self, transaction: &mut coreloop_db::Transaction, event: &Event) -> Result<(), Failure> {
        let limit = Duration::from_millis(self.consumer.parts.options.handler_timeout_ms);
        let work = AssertUnwindSafe(self.consumer.handler.handle(transaction, event)).catch_unwind();
        let handled = match self.call(event) {
            Some(call) => call.scope(tokio::time::timeout(limit, work)).await,
            None => tokio::time::timeout(limit, work).await,
        };
        match handled {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Failure::retryable("PANIC", "the handler panicked")),
            Err(_) => Err(Failure::retryable("TIMEOUT", format!("not handled within {limit:?}"))),
        }
    }

    fn call(&self, event: &Event) -> Option<Arc<Call>> {
        let span = self.consumer.parts.ids.uuid().as_u128() as u64 | 1;
        let trace = event.context()?.child(span.to_be_bytes());
        let request_id = HeaderValue::try_from(event.request_id.as_str()).ok()?;
        let name = &self.consumer.name;
        let target = Target {
            domain: name.split('.').next().unwrap_or_default().to_owned(),
            service: name.clone(),
            method: event.topic.to_string(),
            path: event.topic.to_string(),
        };
        Some(Arc::new(Call::new(request_id, trace, Arc::new(target), None)))
    }

    /// Sets a failed event aside; answers when it is to be tried again.
    async fn keep(&self, event: &Event, failure: &Failure) -> Option<Instant> {
        let standing = self.standing(1, failure, &event.topic.to_string());
        let mut breath = self.breath();
        while let Err(failure) = self.try_keep(event, &standing).await {
            breath.draw(&failure).await;
        }
        (standing.state == "retry").then(|| Instant::now() + super::until(standing.now, standing.due))
    }

    fn standing(&self, failures: u32, failure: &Failure, topic: &str) -> Standing {
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
            reason: failure.reason().to_owned(),
            error: failure.to_string().chars().take(2_000).collect(),
            now,
            due: due.unwrap_or(now),
        }
    }

    async fn try_keep(&self, event: &Event, standing: &Standing) -> Result<(), Failure> {
        let mut connection = self.consumer.parts.db.acquire().await?;
        let (sql, name) = (&self.consumer.sql, &self.consumer.name);
        Ok(store::inbox::hold(&mut connection, sql, name, event, standing).await?)
    }

    /// The first that the key holds: the event, its failures, and when it is due.
    async fn head(&self) -> Option<(Event, u32, Timestamp)> {
        let mut breath = self.breath();
        loop {
            match self.try_head().await {
                Ok(head) => return head,
                Err(failure) => breath.draw(&failure).await,
            }
        }
    }

    async fn try_head(&self) -> Result<Option<(Event, u32, Timestamp)>, Failure> {
        let mut connection = self.consumer.parts.db.acquire().await?;
        Ok(store::inbox::head(&mut connection, &self.consumer.sql, &self.consumer.name, &self.key).await?)
    }

    /// Notes one more failure of a held event.
    async fn settle(&self, event: &Event, standing: &Standing) {
        let mut breath = self.breath();
        while let Err(failure) = self.try_settle(event, standing).await {
            breath.draw(&failure).await;
        }
    }

    async fn try_settle(&self, event: &Event, standing: &Standing) -> Result<(), Failure> {
        let mut connection = self.consumer.parts.db.acquire().await?;
        let (sql, name) = (&self.consumer.sql, &self.consumer.name);
        Ok(store::inbox::settle(&mut connection, sql, name, event.id, standing).await?)
    }

    /// What cannot be read as an event, as one that can be kept.
    fn unreadable(&self, delivery: &Delivery, shown: &str) -> Event {
        Event {
            topic: delivery.receipt.topic.clone(),
            key: String::new(),
            id: self.consumer.parts.ids.uuid(),
            sequence: 0,
            version: 0,
            trace_id: String::new(),
            traceparent: String::new(),
            request_id: String::new(),
            created_at: self.consumer.parts.clock.now(),
            encoding: Encoding::Json,
            payload: Bytes::from(shown.to_owned()),
        }
    }
}
