//! Group commit: orders that wait together are one transaction of two statements, each with its own answer.
//!
//! Orders of a user whom a batch has locked wait for its end, and are then one batch: a wallet that many buy from at once costs
//! one transaction for all who wait, and no lane stands at its row.
//!
//! A batch locks its accounts in the order of their keys and reads them, the rules decide ([`crate::decide`]), all that
//! became of it is written at once. Who has too little is refused alone; a key that comes twice, in one batch or two, is one
//! act. What is not known after a lost connection is asked again: ids are made of keys, so what lasted is found. Should the
//! database refuse what the rules allowed, each order is tried alone, so that the fault of one is not its neighbours'.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use coreloop_core::Clock;
use coreloop_db::{AMPLE, ConstraintKind, GroupError, Grouped, Growth, Limits, deadline, is_transient, violation};
use coreloop_facts::Acts;
use coreloop_planted::{self as planted, Bug};
use coreloop_wallet_api::v1;
use sqlx::PgPool;
use tokio::{sync::Semaphore, time::Instant};
use uuid::Uuid;

use crate::{
    Error, Options, acts,
    books::{Books, Loaded},
    decide,
    error::{Refusal, constant},
    metrics::Metrics,
    order::{Act, Key, Order, SLOTS},
    store::batch::{self, Needs},
};

/// Times a batch is tried: a connection may be lost, a key may be raced for by another replica.
const TRIES: u32 = 4;

/// Callers with batches of their own that may wait for each other; more are refused.
const PLACES: usize = 16;

/// Pause before the second try; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(20);

/// Tables that rows of a batch are found in.
const TABLES: [&str; 3] = ["wallet.accounts (owner)", "wallet.postings (id)", "wallet.entries (owner)"];

/// What an order came to.
pub type Outcome = Result<v1::Posting, Error>;

/// Posts orders. Clones share the lanes.
#[derive(Debug, Clone)]
pub struct Ledger {
    writes: Grouped<Order, Outcome>,
    /// Batches of a caller's own: one at a time, and no more that wait than this.
    turn: Arc<Semaphore>,
    places: Arc<Semaphore>,
    hand: Arc<Hand>,
}

/// What a batch is done with.
#[derive(Debug)]
struct Hand {
    db: PgPool,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    acts: Acts,
    growth: Growth,
    grace_secs: u32,
    /// The first of the house's slots that this process uses; its lanes use those that follow.
    slot: u8,
}

impl Ledger {
    /// A ledger on the database of the service.
    #[must_use]
    pub fn new(db: PgPool, clock: Arc<dyn Clock>, options: &Options, metrics: Metrics, acts: Acts) -> Self {
        let slot = rand::random::<u8>() % SLOTS;
        let growth = Growth::of(db.clone(), &TABLES);
        let hand = Arc::new(Hand { db, clock, metrics, acts, growth, grace_secs: options.grace_secs, slot });
        let limits = Limits { lanes: options.lanes, most: options.batch, queue: options.queue, ample: AMPLE };
        let working = Arc::clone(&hand);
        let writes = Grouped::apart(limits, Order::users, move |orders: Vec<Order>, lane| {
            let hand = Arc::clone(&working);
            Box::pin(async move { hand.commit(orders, lane).await })
        });
        Self { writes, turn: Arc::new(Semaphore::new(1)), places: Arc::new(Semaphore::new(PLACES)), hand }
    }

    /// Posts an order, with those that wait beside it.
    ///
    /// # Errors
    /// The refusal of the books; else what kept it from being answered, after which the key tells what happened.
    pub async fn post(&self, order: Order) -> Outcome {
        self.writes.submit(order).await?
    }

    /// Posts many orders in batches of their own, in their order. One such caller is served at a time, so all of them
    /// together take one connection and one of the house's rows from those who post one by one.
    ///
    /// # Errors
    /// [`GroupError`] when as many wait as may, or the deadline passes first: none was begun.
    pub async fn post_all(&self, orders: Vec<Order>, most: usize) -> Result<Vec<Outcome>, GroupError> {
        let _place = self.places.try_acquire().map_err(|_| GroupError::Full)?;
        let turn = deadline::within(Duration::MAX, self.turn.acquire()).await.ok_or(GroupError::Deadline)?;
        // Never closed.
        let _turn = turn.map_err(|_| GroupError::Lost)?;
        let mut outcomes = Vec::with_capacity(orders.len());
        let mut left = orders;
        while !left.is_empty() {
            let rest = left.split_off(left.len().min(most.max(1)));
            if deadline::passed() {
                outcomes.extend(left.iter().map(|_| Err(GroupError::Deadline.into())));
                left = rest;
                continue;
            }
            // A slot that no lane of a usual number uses.
            outcomes.extend(self.hand.commit(left, usize::from(SLOTS - 1)).await);
            left = rest;
        }
        Ok(outcomes)
    }
}

impl Hand {
    async fn commit(&self, orders: Vec<Order>, lane: usize) -> Vec<Outcome> {
        let began = Instant::now();
        let outcomes = self.commit_all(&orders, lane).await;
        self.metrics.batch_seconds.observe(began.elapsed().as_secs_f64());
        self.metrics.batch_size.observe(orders.len() as f64);
        for outcome in &outcomes {
            self.metrics.act(match outcome {
                Ok(_) => "posted",
                Err(Error::Refused(Refusal::KeyReused)) => "IDEMPOTENCY_KEY_REUSED",
                Err(Error::Refused(Refusal::TimePassed)) => "VALIDATION_FAILED",
                Err(Error::Refused(Refusal::Corrupt(_))) => "failed",
                Err(Error::Refused(refusal)) => constant(refusal.told().0),
                Err(_) => "failed",
            });
        }
        outcomes
    }

    /// All in one; each alone when the database refuses them together.
    async fn commit_all(&self, orders: &[Order], lane: usize) -> Vec<Outcome> {
        let error = match self.persist(orders, lane).await {
            Ok(outcomes) => return outcomes,
            Err(error) => error,
        };
        let away = error.sqlx().is_none_or(|error| is_transient(error) || out_of_time(error));
        if away || orders.len() == 1 {
            let error = Arc::new(error);
            return orders.iter().map(|_| Err(Error::Batch(Arc::clone(&error)))).collect();
        }
        tracing::error!(%error, orders = orders.len(), "a batch was refused by the database, each order is tried alone");
        let mut outcomes = Vec::with_capacity(orders.len());
        for order in orders {
            let alone = self.persist(std::slice::from_ref(order), lane).await;
            outcomes.push(alone.map_or_else(|error| Err(Error::Batch(Arc::new(error))), |mut one| one.remove(0)));
        }
        outcomes
    }

    /// Tries until the outcome is known.
    async fn persist(&self, orders: &[Order], lane: usize) -> Result<Vec<Outcome>, Error> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.attempt(orders, lane).await {
                Err(error) if again(&error) => {
                    planted::again();
                    tracing::debug!(%error, "a batch is tried again");
                }
                outcome => return outcome,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.attempt(orders, lane).await
    }

    async fn attempt(&self, orders: &[Order], lane: usize) -> Result<Vec<Outcome>, Error> {
        let slot = slot_of(self.slot, lane);
        let mut tx = coreloop_db::begin(&self.db).await?;
        let loaded = batch::open(&mut tx, &needs(orders, slot)).await?;
        let now = self.clock.now();
        let grace = now.saturating_add(jiff::SignedDuration::from_secs(self.grace_secs.into())).unwrap_or(now);
        let mut books = Books::new(loaded, slot, now.as_microsecond(), grace.as_microsecond());
        let outcomes: Vec<Outcome> =
            orders.iter().map(|order| decide::apply(&mut books, order).map_err(Error::Refused)).collect();
        if books.written.postings.is_empty() {
            tx.rollback().await?;
            return Ok(outcomes);
        }
        if planted::tried() {
            books.written.facts.clear();
        }
        let mut ids: Vec<Uuid> = books.written.facts.iter().map(fact_id).collect();
        if planted::on(Bug::EarlyEvent) {
            self.tell_early(&mut books, std::mem::take(&mut ids)).await?;
        }
        if planted::on(Bug::EarlyReply) {
            batch::relax(&mut tx).await?;
        }
        batch::write(&mut tx, &books, &ids).await?;
        acts::tell(&self.acts, &mut tx, orders.iter().zip(&outcomes), &books, now).await?;
        tx.commit().await?;
        self.growth.wrote(books.written.postings.len());
        Ok(outcomes)
    }

    /// What [`Bug::EarlyEvent`] does: the facts, in a transaction of their own.
    async fn tell_early(&self, books: &mut Books, ids: Vec<Uuid>) -> Result<(), Error> {
        let mut only = Books::new(Loaded::default(), books.slot, books.now, books.grace);
        only.written.facts = std::mem::take(&mut books.written.facts);
        let mut tx = coreloop_db::begin(&self.db).await?;
        batch::write(&mut tx, &only, &ids).await?;
        Ok(tx.commit().await?)
    }
}

/// The id of a fact: the same however often it is written. Of the act, not of the place alone: a database that was put back
/// gives the place to another act, and that is another fact.
fn fact_id(row: &crate::books::FactRow) -> Uuid {
    let posted = &row.posted;
    let place = (posted.currency, posted.sequence, posted.balance_after);
    crate::order::id_of(&format!("posted\n{}\n{}\n{place:?}", posted.posting_id, posted.user_id))
}

fn slot_of(first: u8, lane: usize) -> u8 {
    let lane = u8::try_from(lane % usize::from(SLOTS)).unwrap_or_default();
    (first + lane) % SLOTS
}

/// The same batch may do: the connection was lost, locks crossed, or another replica was first with a key.
fn again(error: &Error) -> bool {
    error.sqlx().is_some_and(|error| {
        is_transient(error) || violation(error).is_some_and(|violated| violated.kind == ConstraintKind::Unique)
    })
}

/// SQLSTATE 57014: alone, each would take as long.
fn out_of_time(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(refused) if refused.code().as_deref() == Some("57014"))
}

fn needs(orders: &[Order], slot: u8) -> Needs {
    let mut keys = BTreeSet::<Key>::new();
    let mut needs = Needs::default();
    for order in orders {
        order.accounts(slot, &mut keys);
        needs.ids.push(order.id);
        match &order.act {
            Act::Settle { made, .. } => needs.holds.extend(made.posting_id.parse::<Uuid>().ok()),
            Act::Reverse { original, .. } => needs.originals.extend(original.posting_id.parse::<Uuid>().ok()),
            _ => {}
        }
    }
    needs.accounts = keys.into_iter().collect();
    needs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_use_slots_of_their_own() {
        let used: BTreeSet<u8> = (0..usize::from(SLOTS)).map(|lane| slot_of(13, lane)).collect();
        assert_eq!(used.len(), usize::from(SLOTS));
        assert_eq!(slot_of(15, 1), 0);
    }
}
