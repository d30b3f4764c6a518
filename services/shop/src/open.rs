//! Purchases that begin: those that wait together are one transaction, each with its own answer.
//!
//! A batch locks what limits its purchases and reads it, the rules decide ([`crate::decide`]), and what may be is written
//! down with what it takes and its event. After that, and not before, anything moves elsewhere.
//!
//! Items that nothing limits take no locks: they are one statement and one commit ([`Hand::plain`]). What that did not write,
//! because its key is known or a rule is about items, goes the long way with the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use coreloop_core::Clock;
use coreloop_db::{AMPLE, ConstraintKind, DbError, Grouped, Growth, Limits, deadline, is_transient, violation};
use coreloop_planted::{self as planted, Bug};
use coreloop_shop_api::v1::{Category, PurchaseState};
use sqlx::PgPool;

use crate::{
    Error, Options,
    decide::{self, Decision, Loaded, Terms},
    facts,
    metrics::Metrics,
    order::Order,
    purchase::Purchase,
    store::{
        fraud,
        open::{self, Needs},
        plain,
    },
    time,
};

/// Times a batch is tried: a connection may be lost, a key may be raced for by another replica.
pub(crate) const TRIES: u32 = 4;
/// Pause before the second try; each further one is twice as long.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// Tables that rows of a batch are found in.
const TABLES: [&str; 2] = ["shop.purchases (id)", "shop.effects (purchase_id)"];

/// What an order came to.
#[derive(Debug, Clone)]
pub enum Opened {
    /// It is written down, by this call, which goes on with it.
    New(Box<Purchase>),
    /// It was, by another.
    Known,
}

type Outcome = Result<Opened, Error>;

/// Begins purchases. Clones share the lanes.
#[derive(Debug, Clone)]
pub struct Opening(Grouped<Order, Outcome>);

#[derive(Debug)]
struct Hand {
    db: PgPool,
    clock: Arc<dyn Clock>,
    lease_secs: u32,
    growth: Growth,
    metrics: Metrics,
}

impl Opening {
    /// On the database of the service.
    #[must_use]
    pub fn new(db: PgPool, clock: Arc<dyn Clock>, options: &Options, metrics: Metrics) -> Self {
        let growth = Growth::of(db.clone(), &TABLES);
        let hand = Arc::new(Hand { db, clock, lease_secs: options.lease_secs, growth, metrics });
        let limits = Limits { lanes: options.lanes, most: options.batch, queue: options.queue, ample: AMPLE };
        Self(Grouped::new(limits, move |orders: Vec<Order>, _| {
            let hand = Arc::clone(&hand);
            Box::pin(async move { hand.commit(&orders).await })
        }))
    }

    /// Writes an order down, with those that wait beside it.
    ///
    /// # Errors
    /// Why it may not be; what kept it from being answered, after which its key tells what happened.
    pub async fn open(&self, order: Order) -> Outcome {
        self.0.submit(order).await?
    }
}

impl Hand {
    async fn commit(&self, orders: &[Order]) -> Vec<Outcome> {
        let mut outcomes = self.plain(orders).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "items go the long way");
            BTreeMap::new()
        });
        let rest = orders.iter().enumerate().filter(|(place, _)| !outcomes.contains_key(place));
        let (places, rest): (Vec<usize>, Vec<&Order>) = rest.unzip();
        if !rest.is_empty() {
            outcomes.extend(places.into_iter().zip(self.together(&rest).await));
        }
        outcomes.into_values().collect()
    }

    /// Writes items down that nothing limits; answers those that it did, by their places.
    async fn plain(&self, orders: &[Order]) -> Result<BTreeMap<usize, Outcome>, Error> {
        let (now, mut known) = (self.clock.now(), Loaded::default());
        let (mut places, mut opened) = (Vec::new(), Vec::new());
        for (place, order) in orders.iter().enumerate().filter(|(_, order)| is_plain(order)) {
            // Who is refused may be known: that is looked for under lock.
            if let Ok(Decision::Opened(terms)) = decide::apply(&mut known, order, now) {
                places.push(place);
                opened.push((order, terms, purchase(order, terms, now)));
            }
        }
        if opened.is_empty() {
            return Ok(BTreeMap::new());
        }
        let facts: Vec<_> = opened.iter().map(|(.., purchase)| facts::requested(purchase)).collect();
        let connection = deadline::within(self.db.options().get_acquire_timeout(), self.db.acquire()).await;
        let mut connection = connection.ok_or(DbError::Deadline)??;
        let written = plain::write(&mut *connection, &opened, &facts, now, time::later(now, self.lease_secs)).await?;
        self.growth.wrote(written.len());
        let opened = places.into_iter().zip(opened).filter(|(_, (order, ..))| written.contains(&order.id));
        Ok(opened.map(|(place, (.., purchase))| (place, Ok(Opened::New(Box::new(purchase))))).collect())
    }

    /// All in one; each alone when the database refuses them together.
    async fn together(&self, orders: &[&Order]) -> Vec<Outcome> {
        let error = match self.persist(orders).await {
            Ok(outcomes) => return outcomes,
            Err(error) => error,
        };
        if is_away(&error) || orders.len() == 1 {
            let error = Arc::new(error);
            return orders.iter().map(|_| Err(Error::Batch(Arc::clone(&error)))).collect();
        }
        tracing::error!(%error, orders = orders.len(), "a batch was refused by the database, each order is tried alone");
        let mut outcomes = Vec::with_capacity(orders.len());
        for order in orders {
            let alone = self.persist(std::slice::from_ref(order)).await;
            outcomes.push(alone.map_or_else(|error| Err(Error::Batch(Arc::new(error))), |mut one| one.remove(0)));
        }
        outcomes
    }

    async fn persist(&self, orders: &[&Order]) -> Result<Vec<Outcome>, Error> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.attempt(orders).await {
                Err(error) if again(&error) => tracing::debug!(%error, "a batch is tried again"),
                outcome => return outcome,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.attempt(orders).await
    }

    async fn attempt(&self, orders: &[&Order]) -> Result<Vec<Outcome>, Error> {
        let mut tx = coreloop_db::begin(&self.db).await?;
        let mut loaded = open::load(&mut tx, &needs(orders), self.clock.now()).await?;
        if planted::on(Bug::CheckThenAct) {
            tx.commit().await?;
            tx = coreloop_db::begin(&self.db).await?;
        }
        let now = self.clock.now();
        let mut opened = Vec::new();
        let mut outcomes = Vec::with_capacity(orders.len());
        for order in orders {
            outcomes.push(match decide::apply(&mut loaded, order, now) {
                Ok(Decision::Known) => Ok(Opened::Known),
                Ok(Decision::Opened(terms)) => {
                    let purchase = purchase(order, terms, now);
                    opened.push((*order, terms, purchase.clone()));
                    Ok(Opened::New(Box::new(purchase)))
                }
                Ok(Decision::Blocked(rule)) => Err(loaded.watch.refusal(rule)),
                Err(Some(refusal)) => Err(refusal.into()),
                Err(None) => Err(Error::key_reused()),
            });
        }
        let hits = &loaded.watch.hits;
        if opened.is_empty() && hits.is_empty() {
            tx.rollback().await?;
            return Ok(outcomes);
        }
        if !opened.is_empty() {
            let facts: Vec<_> = opened.iter().map(|(.., purchase)| facts::requested(purchase)).collect();
            open::write(&mut tx, &opened, &facts, now, time::later(now, self.lease_secs)).await?;
        }
        if !hits.is_empty() {
            fraud::note(&mut tx, hits, now).await?;
        }
        tx.commit().await?;
        self.growth.wrote(opened.len());
        for hit in hits {
            self.metrics.fraud(&hit.rule, hit.refused);
            tracing::warn!(rule = hit.rule, refused = hit.refused, user_id = %hit.user, "a rule against fraud was met");
        }
        Ok(outcomes)
    }
}

/// The database is away, or took too long: alone, each would fare no better.
pub(crate) fn is_away(error: &Error) -> bool {
    let out_of_time = |error: &sqlx::Error| matches!(error, sqlx::Error::Database(refused) if refused.code().as_deref() == Some("57014"));
    error.sqlx().is_none_or(|error| is_transient(error) || out_of_time(error))
}

/// The same batch may do: the connection was lost, locks crossed, or another replica was first with a key. What was written
/// by a commit whose answer was lost is then known, and whoever looks after it goes on.
pub(crate) fn again(error: &Error) -> bool {
    error.sqlx().is_some_and(|error| {
        is_transient(error) || violation(error).is_some_and(|violated| violated.kind == ConstraintKind::Unique)
    })
}

/// Nothing that is counted limits it.
fn is_plain(order: &Order) -> bool {
    let product = &order.product;
    let limited = product.stock.is_some() || decide::most(product) > 0 || !order.asked.promo.is_empty();
    product.category() == Category::Item && !limited
}

fn needs(orders: &[&Order]) -> Needs {
    let (mut stocked, mut held, mut used) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for order in orders {
        let id = &order.product.product_id;
        if order.product.stock.is_some() {
            stocked.insert(id.clone());
        }
        if decide::most(&order.product) > 0 {
            held.insert((order.user.0, id.clone()));
        }
        if !order.asked.promo.is_empty() {
            used.insert((order.user.0, order.asked.promo.clone()));
        }
    }
    Needs {
        ids: orders.iter().map(|order| order.id).collect(),
        stocked: stocked.into_iter().collect(),
        held: held.into_iter().collect(),
        used: used.into_iter().collect(),
        buyers: orders.iter().map(|order| order.user.0).collect(),
        devices: orders.iter().map(|order| order.asked.device_id.clone()).collect(),
        handles: orders.iter().map(|order| order.asked.payment_handle.clone()).collect(),
        categories: orders.iter().map(|order| i16::try_from(order.product.category).unwrap_or_default()).collect(),
    }
}

fn purchase(order: &Order, terms: Terms, now: jiff::Timestamp) -> Purchase {
    Purchase {
        id: order.id,
        user: order.user.0,
        body_hash: order.body_hash.to_vec(),
        product: (*order.product).clone(),
        state: PurchaseState::Created,
        price: terms.price,
        gold: terms.gold,
        bonus: terms.bonus,
        promo: order.asked.promo.clone(),
        payment_handle: order.asked.payment_handle.clone(),
        device_id: order.asked.device_id.clone(),
        payment_id: String::new(),
        verdict: None,
        said_by: String::new(),
        granting: false,
        claw: None,
        reason: String::new(),
        detail: String::new(),
        balance: None,
        owed: 0,
        receipt: None,
        created_at: now,
        closed_at: None,
        tries: 0,
        origin: order.origin.clone(),
    }
}
