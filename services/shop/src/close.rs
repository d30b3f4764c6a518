//! Purchases that end: those that wait together are one statement, which writes how each ended, what its item does, what it
//! gives back, and its events. It ends only what is open, and for nothing only what nobody else has taken up meanwhile:
//! whoever comes second is told what the first wrote.

use std::{collections::HashSet, sync::Arc};

use coreloop_core::Clock;
use coreloop_db::{AMPLE, Grouped, Limits};
use coreloop_shop_api::v1::PurchaseState;
use sqlx::PgPool;

use crate::{
    Error, Options, facts,
    keys::Keyring,
    open::{PAUSE, TRIES, again, is_away},
    purchase::Purchase,
    store::close::{self, Ended},
};

/// What a purchase came to: itself, or nothing where another had ended it.
type Outcome = Result<Option<Box<Purchase>>, Error>;

/// Ends purchases. Clones share the lanes.
#[derive(Debug, Clone)]
pub struct Closing {
    writes: Grouped<Box<Purchase>, Outcome>,
    keys: Keyring,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Hand {
    db: PgPool,
    clock: Arc<dyn Clock>,
}

impl Closing {
    /// On the database of the service.
    #[must_use]
    pub fn new(db: PgPool, clock: Arc<dyn Clock>, keys: Keyring, options: &Options) -> Self {
        let hand = Arc::new(Hand { db, clock: Arc::clone(&clock) });
        let limits = Limits { lanes: options.lanes, most: options.batch, queue: options.queue, ample: AMPLE };
        let writes = Grouped::new(limits, move |ended: Vec<Box<Purchase>>, _| {
            let hand = Arc::clone(&hand);
            Box::pin(async move { hand.commit(&ended).await })
        });
        Self { writes, keys, clock }
    }

    /// Ends a purchase as its fields say; answers it with its receipt, or nothing where another had ended it.
    ///
    /// # Errors
    /// What kept it from being answered, after which the database tells how it ended.
    pub async fn end(&self, mut purchase: Purchase) -> Outcome {
        // As Postgres will give it back: a receipt is of what is written.
        let now = jiff::Timestamp::from_microsecond(self.clock.now().as_microsecond()).unwrap_or_default();
        purchase.closed_at = Some(now);
        if matches!(purchase.state, PurchaseState::Confirmed | PurchaseState::Voided) {
            purchase.receipt = Some(self.keys.active().await?.sign(&purchase));
        }
        self.writes.submit(Box::new(purchase)).await?
    }
}

impl Hand {
    async fn commit(&self, ended: &[Box<Purchase>]) -> Vec<Outcome> {
        let error = match self.persist(ended).await {
            Ok(outcomes) => return outcomes,
            Err(error) => error,
        };
        if is_away(&error) || ended.len() == 1 {
            let error = Arc::new(error);
            return ended.iter().map(|_| Err(Error::Batch(Arc::clone(&error)))).collect();
        }
        tracing::error!(%error, purchases = ended.len(), "a batch was refused by the database, each is tried alone");
        let mut outcomes = Vec::with_capacity(ended.len());
        for one in ended {
            let alone = self.persist(std::slice::from_ref(one)).await;
            outcomes.push(alone.map_or_else(|error| Err(Error::Batch(Arc::new(error))), |mut one| one.remove(0)));
        }
        outcomes
    }

    async fn persist(&self, ended: &[Box<Purchase>]) -> Result<Vec<Outcome>, Error> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.attempt(ended).await {
                Err(error) if again(&error) => tracing::debug!(%error, "a batch is tried again"),
                outcome => return outcome,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.attempt(ended).await
    }

    async fn attempt(&self, ended: &[Box<Purchase>]) -> Result<Vec<Outcome>, Error> {
        let now = self.clock.now();
        // Twice in one batch is once: the first of them is answered, the other finds it written.
        let mut seen = HashSet::new();
        let first: Vec<bool> = ended.iter().map(|one| seen.insert(one.id)).collect();
        let once = || ended.iter().zip(&first).filter_map(|(one, first)| first.then_some(one));
        let mut rows: Vec<_> = (0..).zip(once()).map(|(place, one)| told(one, place, now)).collect();
        rows.sort_unstable_by_key(|row| row.purchase.id);
        let for_nothing = once().filter(|one| matches!(one.state, PurchaseState::Failed | PurchaseState::Voided));
        let back: Vec<_> = for_nothing.map(|one| one.id).collect();
        let written = if back.is_empty() {
            close::write(&self.db, &rows, now).await?
        } else {
            let mut tx = coreloop_db::begin(&self.db).await?;
            close::lock(&mut *tx, &back).await?;
            let written = close::write(&mut *tx, &rows, now).await?;
            let back: Vec<_> = back.into_iter().filter(|id| written.contains(id)).collect();
            if !back.is_empty() {
                close::give_back(&mut *tx, &back).await?;
            }
            tx.commit().await?;
            written
        };
        let fresh = |one: &Purchase, first: bool| first && written.contains(&one.id);
        Ok(ended.iter().zip(first).map(|(one, first)| Ok(fresh(one, first).then(|| one.clone()))).collect())
    }
}

/// A purchase that ends, with its facts.
fn told(purchase: &Purchase, place: i32, now: jiff::Timestamp) -> Ended<'_> {
    let (fact, second) = facts::ended(purchase, purchase.closed_at.unwrap_or(now));
    Ended { purchase, place, fact, second }
}
