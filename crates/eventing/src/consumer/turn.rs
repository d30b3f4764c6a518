//! The turn of one key: an event is handled, found done, or held.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use coreloop_service::{Call, Ended, Span, Target};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::PgConnection;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Consumer, Kind, lanes::Work};
use crate::{
    Command, Event, Failure,
    bus::{Delivery, Receipt},
    options::REMEMBER,
    store::{
        self,
        inbox::{Claim, Standing},
    },
};

/// Longest time of a turn that works through what its key holds, but for the last of it: what comes meanwhile waits.
const HELD: Duration = Duration::from_secs(1);

/// A turn that is to be taken.
pub(super) struct Turn<'a> {
    pub(super) consumer: &'a Consumer,
    pub(super) key: String,
    pub(super) work: Work,
    /// It cannot go on for the database; until that answers again.
    pub(super) hindered: watch::Sender<bool>,
}

/// A turn that was taken.
pub(super) struct Turned {
    pub(super) key: String,
    /// What is to be acknowledged: its effect is committed, or it is set aside.
    pub(super) receipt: Option<Receipt>,
    /// When what is held is to be looked at.
    pub(super) again: Option<Instant>,
    /// It was not done: nothing may follow it.
    pub(super) given_up: bool,
}

/// What became of a try.
pub(super) enum Outcome {
    /// It has had its effect, now or before.
    Done(&'static str),
    /// It waits behind another of its key.
    Behind,
    Failed(Failure),
}

impl Turn<'_> {
    /// Takes the turn; gives it up when the database is in the way and `stop` is said.
    pub(super) async fn take(self, stop: &CancellationToken) -> Turned {
        let taken = tokio::select! {
            taken = self.work() => Some(taken),
            () = async { stop.cancelled().await; self.hindrance().await } => None,
        };
        let given_up = taken.is_none();
        let (receipt, again) = taken.unwrap_or_default();
        Turned { key: self.key, receipt, again, given_up }
    }

    /// Waits until the database is in the way.
    async fn hindrance(&self) {
        let mut told = self.hindered.subscribe();
        let _there_as_long_as_this_turn = told.wait_for(|hindered| *hindered).await;
    }

    async fn work(&self) -> (Option<Receipt>, Option<Instant>) {
        match &self.work {
            Work::Delivered(delivery) => (Some(delivery.receipt.clone()), self.delivered(delivery).await),
            Work::Held => (None, self.held().await),
        }
    }

    /// Somebody may have begun on it before.
    fn begun(&self) -> bool {
        match &self.work {
            Work::Delivered(delivery) => delivery.again,
            Work::Held => true,
        }
    }

    async fn delivered(&self, delivery: &Delivery) -> Option<Instant> {
        match &delivery.event {
            Ok(event) if !event.keepable() => {
                self.keep(&self.bare(event), &Failure::permanent("UNREADABLE", "a text of it holds a NUL")).await
            }
            Ok(event) if let Some(reason) = delivery.buried => self.bury(event, reason).await,
            Ok(event) => match self.decide(event, false).await {
                Outcome::Done(_) | Outcome::Behind => None,
                Outcome::Failed(failure) => self.keep(event, &failure).await,
            },
            Err(shown) => {
                let event = self.unreadable(&delivery.receipt, shown);
                self.keep(&event, &Failure::permanent("UNREADABLE", shown.clone())).await
            }
        }
    }

    /// Sets aside what the broker has given up, unless it has had its effect.
    async fn bury(&self, event: &Event, reason: &'static str) -> Option<Instant> {
        let mut breath = self.breath();
        let fresh = loop {
            // What waits ahead of it is no reason to forget it.
            match self.look(event, true).await {
                Ok(claim) => break claim == Claim::Mine,
                Err(failure) => breath.draw(&failure).await,
            }
        };
        if !fresh {
            return None;
        }
        self.keep(event, &Failure::permanent(reason, "the broker gave it up")).await
    }

    /// Whether an event may be handled now, as it looks.
    pub(super) async fn look(&self, event: &Event, held: bool) -> Result<Claim, Failure> {
        let parts = &self.consumer.parts;
        let mut connection = parts.db.acquire().await?;
        let subject = (self.consumer.name.as_str(), event, held);
        let claim = store::inbox::look(&mut connection, &self.consumer.sql, subject, parts.clock.now()).await?;
        self.hindered.send_replace(false);
        Ok(claim)
    }

    /// Works through what the key holds, from its head, until something is not due or fails.
    async fn held(&self) -> Option<Instant> {
        let until = Instant::now() + HELD;
        loop {
            if until <= Instant::now() {
                return Some(until);
            }
            let (event, failures, due) = self.head().await?;
            let now = self.consumer.parts.clock.now();
            if due > now {
                return Some(Instant::now() + super::until(now, due));
            }
            if let Outcome::Failed(failure) = self.decide(&event, true).await {
                let standing = self.standing(failures + 1, &failure, "");
                let again = (standing.state == "retry").then(|| super::until(standing.now, standing.due));
                self.settle(&event, standing, &failure).await;
                if let Some(pause) = again {
                    return Some(Instant::now() + pause);
                }
            }
        }
    }

    /// One try, and more while only the database, or what the handler keeps elsewhere, is in the way.
    async fn decide(&self, event: &Event, held: bool) -> Outcome {
        let (call, began, mut breath) = (self.call(event), Instant::now(), self.breath());
        let outcome = loop {
            match self.transact(event, held, &call).await {
                Ok(outcome) => break outcome,
                Err(failure) => match failure.lasting() {
                    Some(lasting) => {
                        // What is refused while the database is there may be for the event.
                        if began.elapsed() > self.consumer.within * 2 && self.database_answers().await {
                            break Outcome::Failed(lasting);
                        }
                        breath.draw(&failure).await;
                    }
                    None => break Outcome::Failed(failure),
                },
            }
        };
        let name = match &outcome {
            Outcome::Done(name) => name,
            Outcome::Behind => "waiting",
            Outcome::Failed(_) => "failed",
        };
        let parts = &self.consumer.parts;
        parts.metrics.handled(&self.consumer.name, name, event, parts.clock.now());
        self.export(&call, name, began.elapsed());
        outcome
    }

    async fn database_answers(&self) -> bool {
        coreloop_db::check(&self.consumer.parts.db).await.is_ok()
    }

    /// A span for what the handler was asked to do; none for what was known or waits.
    fn export(&self, call: &Call, what: &'static str, took: Duration) {
        let (parts, failed) = (&self.consumer.parts, what == "failed");
        let Some(spans) = parts.spans.as_ref().filter(|_| failed || (what == "handled" && call.trace.sampled)) else {
            return;
        };
        let (target, ended) = (Arc::clone(&call.target), parts.clock.now());
        spans.take(Span { trace: call.trace, target, ended, took, outcome: Ended::Event(what), failed });
    }

    /// Claims, handles and notes the event in one transaction; the work of a command comes before it.
    async fn transact(&self, event: &Event, held: bool, call: &Arc<Call>) -> Result<Outcome, Failure> {
        let (parts, sql, name) = (&self.consumer.parts, &self.consumer.sql, &self.consumer.name);
        let now = parts.clock.now();
        let remember = match &self.consumer.work {
            Kind::Passing(handler) => return self.pass(&**handler, event, held, call).await,
            Kind::Events(_) => parts.options.remember_events(),
            Kind::Commands(..) => REMEMBER,
        };
        let expires = now.saturating_add(remember).unwrap_or(Timestamp::MAX);
        let acted = self.act(event, held, call).await?;
        let mut transaction = coreloop_db::begin(&parts.db).await?;
        let claim = store::inbox::claim(&mut transaction, sql, (name, event, held), now, expires).await?;
        self.hindered.send_replace(false);
        let outcome = match claim {
            Claim::Mine => {
                self.follow(&mut transaction, event, acted, call).await?;
                Outcome::Done("handled")
            }
            Claim::Done => Outcome::Done("known"),
            Claim::Behind => {
                self.wait_behind(&mut transaction, event).await?;
                Outcome::Behind
            }
        };
        // A command that came again may have died before: what is done is nobody's dead letter.
        let done = matches!((&self.consumer.work, &outcome), (Kind::Commands(..), Outcome::Done(_)));
        if held || done {
            store::inbox::release(&mut transaction, sql, name, event.id).await?;
        }
        transaction.commit().await?;
        Ok(outcome)
    }

    /// Sets an event aside behind what its key holds.
    pub(super) async fn wait_behind(&self, connection: &mut PgConnection, event: &Event) -> Result<(), Failure> {
        let (sql, name, now) = (&self.consumer.sql, &self.consumer.name, self.consumer.parts.clock.now());
        let (reason, error) = (String::new(), String::new());
        let waiting = Standing { state: "waiting", failures: 0, reason, error, now, due: now };
        let _kept_before_is_as_good = store::inbox::hold(connection, sql, name, event, &waiting).await?;
        Ok(())
    }

    /// Does the work of a command, with no transaction open, unless it was done or waits. Nothing for an event.
    async fn act(&self, event: &Event, held: bool, call: &Arc<Call>) -> Result<Option<Value>, Failure> {
        let Kind::Commands(queue, _, handler) = &self.consumer.work else { return Ok(None) };
        let parts = &self.consumer.parts;
        let now = parts.clock.now();
        if self.look(event, held).await? != Claim::Mine {
            return Ok(None);
        }
        // What may have been begun is seen through.
        if !self.begun() && now.duration_since(event.created_at).as_secs() > i64::from(queue.ttl_secs()) {
            return Err(Failure::permanent("EXPIRED", "nobody began it in time"));
        }
        let command = Command::of(*queue, event);
        bounded(self.consumer.within, call, handler.act(&command)).await.map(Some)
    }

    /// What is written in the transaction of the claim.
    async fn follow(
        &self,
        transaction: &mut coreloop_db::Transaction,
        event: &Event,
        acted: Option<Value>,
        call: &Arc<Call>,
    ) -> Result<(), Failure> {
        let consumer = &self.consumer;
        match (&consumer.work, acted) {
            (Kind::Events(handler), _) => bounded(self.consumer.within, call, handler.handle(transaction, event)).await,
            (Kind::Commands(queue, _, handler), Some(result)) => {
                let command = Command::of(*queue, event);
                bounded(self.consumer.within, call, handler.settle(transaction, &command, &result)).await?;
                Ok(store::inbox::note(transaction, &consumer.sql, (&consumer.name, event), &result).await?)
            }
            // It waited a moment ago, and does not any more. What is passed on has nothing to follow.
            (Kind::Commands(..), None) | (Kind::Passing(_), _) => {
                Err(Failure::Transient("what was before it is gone".to_owned()))
            }
        }
    }

    pub(super) fn call(&self, event: &Event) -> Arc<Call> {
        let span = self.consumer.parts.ids.uuid().as_u128() as u64 | 1;
        let trace = event.context().child(span.to_be_bytes());
        let request_id = HeaderValue::try_from(event.request_id.as_str())
            .ok()
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| coreloop_service::call::request_id(&HeaderMap::new(), || event.id));
        let name = &self.consumer.name;
        let target = Target {
            domain: name.split('.').next().unwrap_or_default().to_owned(),
            service: name.clone(),
            method: event.topic.to_string(),
            path: event.topic.to_string(),
        };
        Arc::new(Call::new(request_id, trace, Arc::new(target), None))
    }
}

/// Work as a call of its own in the event's trace, bounded in time; its panic is a failure like another. No `async fn`:
/// one that takes a future holds it twice.
pub(super) fn bounded<T, F>(
    limit: Duration,
    call: &Arc<Call>,
    work: F,
) -> impl Future<Output = Result<T, Failure>> + use<T, F>
where
    F: Future<Output = Result<T, Failure>>,
{
    let working = Arc::clone(call).scope(tokio::time::timeout(limit, AssertUnwindSafe(work).catch_unwind()));
    working.map(move |worked| match worked {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Failure::retryable("PANIC", "the handler panicked")),
        Err(_) => Err(Failure::retryable("TIMEOUT", format!("not handled within {limit:?}"))),
    })
}
