//! Bounded guessing: five failures in ten minutes lock for ten minutes, over all replicas (chapter 09, A5).
//!
//! **A try is counted before it is evaluated.** [`Guard::begin`] takes one of the bucket's places in one statement; two
//! hundred parallel guesses find five places, whatever replica they meet. A try that turns out right gives every place
//! back, so somebody who signs in from many devices at once waits a moment instead of being refused. Whoever hangs up
//! before the answer has failed.
//!
//! **An address is told of so many failures.** Whatever an address tries at once, and of however many accounts, what is found
//! is told only while its failures leave room for one more; the others are refused and tell nothing, right or wrong.
//!
//! **Lockout is no weapon.** Strangers who fail for somebody else's account fill the account's bucket. A device that has
//! signed in to the account before, and names itself by an id long enough not to be guessed, has a bucket of its own; so
//! has a signed-in session that proves its password again. Sessions that are open are never touched by a lock. An unknown
//! account fills its bucket just so: nothing tells it from a known one.

mod bucket;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

pub use bucket::{Account, address_bucket, device_bucket};
use coreloop_core::Clock;
use jiff::{SignedDuration, Timestamp};
use sqlx::{PgConnection, PgExecutor, PgPool};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{App, Client, Error, Options, store::guards};

/// Longest wait for tries that are being evaluated.
const PATIENCE: Duration = Duration::from_secs(8);
/// A try undecided for longer has died with its process; it stays counted as a failure.
const UNDECIDED_SECS: i64 = 10;

/// A counted try, to be settled by [`Guard::settle`]. One that is dropped has failed: whoever waits for its place learns that
/// at once, not when it counts as stale.
#[derive(Debug)]
#[must_use = "settle it"]
pub struct Attempt {
    bucket: Vec<u8>,
    at: Timestamp,
    /// None once it is settled.
    open: Option<Unsettled>,
}

/// What it takes to count a dropped try as a failure.
#[derive(Debug)]
struct Unsettled {
    guard: Guard,
    db: PgPool,
    clock: Arc<dyn Clock>,
    /// Held until it is settled, so that these are bounded too.
    _turn: OwnedSemaphorePermit,
}

/// What became of a try.
#[derive(Debug, Clone, Copy)]
enum Became {
    Right,
    Wrong,
    /// It was not evaluated, or nobody is told.
    Untold,
}

impl Attempt {
    /// Only a try that was wrong and is not counted is settled again, when it is dropped.
    async fn settle(self, db: &PgPool, became: Became, lock: guards::Lock, now: Timestamp) -> Result<(), Error> {
        let mut connection = db.acquire().await?;
        apart(async move {
            let mut attempt = self;
            let settled = match became {
                Became::Right => guards::empty(&mut *connection, &attempt.bucket, now).await,
                Became::Wrong => guards::failed(&mut *connection, &attempt.bucket, attempt.at, lock, now).await,
                Became::Untold => guards::forgiven(&mut *connection, &attempt.bucket, attempt.at, now).await,
            };
            if settled.is_ok() || !matches!(became, Became::Wrong) {
                attempt.open.take();
            }
            settled
        })
        .await
    }
}

/// Runs one statement to its end though the caller hangs up: what it did is known to whoever must undo it, and done once.
async fn apart<T: Send + 'static>(
    statement: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(statement).await.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into()))
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // Outside a runtime, as when the process ends, it counts as stale in a while.
        let (Some(open), Ok(_)) = (self.open.take(), Handle::try_current()) else { return };
        let (bucket, at) = (std::mem::take(&mut self.bucket), self.at);
        tokio::spawn(async move {
            let now = open.clock.now();
            if let Err(error) = guards::failed(&open.db, &bucket, at, open.guard.lock(now), now).await {
                tracing::warn!(%error, "a try that was given up is not settled before it is stale");
            }
        });
    }
}

/// What became of asking for a place.
enum Reserved {
    Taken(Attempt),
    /// None is free; the turn comes back.
    Full(OwnedSemaphorePermit),
    /// The address has failed too often, first then.
    AddressFull(Timestamp),
}

/// The limits. Clones share the turns.
#[derive(Debug, Clone)]
pub struct Guard {
    limit: u32,
    address_limit: i64,
    window: SignedDuration,
    /// Turns of the buckets that are tried in this process now. Whoever waits for a turn asks the database nothing.
    turns: Arc<Mutex<HashMap<Vec<u8>, Weak<Semaphore>>>>,
}

impl Guard {
    /// Limits of the settings.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            limit: options.lockout_failures,
            address_limit: options.address_failures.into(),
            window: SignedDuration::from_secs(options.lockout_secs.into()),
            turns: Arc::default(),
        }
    }

    fn since(&self, now: Timestamp) -> Timestamp {
        now.checked_sub(self.window).unwrap_or(Timestamp::MIN)
    }

    fn lock(&self, now: Timestamp) -> guards::Lock {
        let until = now.checked_add(self.window).unwrap_or(Timestamp::MAX);
        guards::Lock { since: self.since(now), limit: self.limit.into(), until }
    }

    /// Takes a place for one try. Waits a moment when every place is held by tries that are still being evaluated.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::AddressLimited`], [`Error::Overloaded`].
    pub async fn begin(&self, app: &App, account: &Account, client: &Client) -> Result<Attempt, Error> {
        let bucket = account.bucket(client);
        let patience = Instant::now() + PATIENCE;
        let mut turn = self.turn(&bucket, patience).await?;
        let address = address_bucket(&client.ip).unwrap_or_default();
        let mut pause = Duration::from_millis(15);
        loop {
            let at = app.now();
            let stale = at.checked_sub(SignedDuration::from_secs(UNDECIDED_SECS)).unwrap_or(at);
            let ask = guards::Ask {
                bucket: bucket.clone(),
                address: address.clone(),
                at,
                since: self.since(at),
                stale,
                limit: self.limit.into(),
                address_limit: self.address_limit,
            };
            match self.reserve(app, ask, turn).await? {
                Reserved::Taken(attempt) => return Ok(attempt),
                Reserved::AddressFull(oldest) => return Err(self.address_limited(Some(oldest), at)),
                Reserved::Full(back) => turn = back,
            }
            let Some(standing) = guards::standing(&app.db, &bucket, self.since(at)).await? else { continue };
            match standing.verdict(at, stale, self.window) {
                // Another replica evaluates.
                Verdict::Wait if Instant::now() < patience => tokio::time::sleep(pause).await,
                Verdict::Wait => return Err(Error::Overloaded),
                Verdict::Locked(left) => return Err(Error::Locked { retry_after: left }),
            }
            pause = (pause * 2).min(Duration::from_millis(120));
        }
    }

    /// Asks once for a place. One that is taken has an owner, who settles it, though the caller hangs up meanwhile.
    async fn reserve(&self, app: &App, ask: guards::Ask, turn: OwnedSemaphorePermit) -> Result<Reserved, Error> {
        let mut connection = app.db.acquire().await?;
        let (guard, db, clock) = (self.clone(), app.db.clone(), Arc::clone(&app.clock));
        apart(async move {
            let answer = guards::reserve(&mut *connection, &ask).await?;
            Ok(match answer.address_full {
                Some(oldest) => Reserved::AddressFull(oldest),
                None if answer.taken => {
                    let open = Some(Unsettled { guard, db, clock, _turn: turn });
                    Reserved::Taken(Attempt { bucket: ask.bucket, at: ask.at, open })
                }
                None => Reserved::Full(turn),
            })
        })
        .await
    }

    /// Of this process no more tries of a bucket run at once than it has places.
    async fn turn(&self, bucket: &[u8], patience: Instant) -> Result<OwnedSemaphorePermit, Error> {
        let turns = {
            let mut all = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            let known = all.get(bucket).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                all.retain(|_, turns| turns.strong_count() > 0);
                let turns = Arc::new(Semaphore::new(self.limit as usize));
                all.insert(bucket.to_vec(), Arc::downgrade(&turns));
                turns
            })
        };
        match tokio::time::timeout_at(patience, turns.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Error::Overloaded),
        }
    }

    /// The client's address may be told what its try has found. Ask where it was found right; a wrong one asks by being
    /// counted.
    ///
    /// # Errors
    /// [`Error::AddressLimited`]; when the database fails.
    pub async fn admits(&self, db: impl PgExecutor<'_>, client: &Client, now: Timestamp) -> Result<(), Error> {
        let address = address_bucket(&client.ip).unwrap_or_default();
        let failures = guards::failures(db, &address, self.since(now)).await?;
        if failures.count < self.address_limit { Ok(()) } else { Err(self.address_limited(failures.oldest, now)) }
    }

    fn address_limited(&self, oldest: Option<Timestamp>, now: Timestamp) -> Error {
        Error::AddressLimited { retry_after: left(oldest.unwrap_or(now), self.window, now) }
    }

    /// Settles a try by what became of it, and answers what the caller is told. Right: the bucket is emptied. Refused: the
    /// account may lock now, and the address is counted too. Anything else: it was not evaluated, by no fault of the
    /// caller, or is not told; the place is given back.
    ///
    /// # Errors
    /// Those of `outcome`; [`Error::AddressLimited`] instead of a refusal that the address is not told; when the database
    /// fails.
    pub async fn settle<T>(
        &self,
        app: &App,
        attempt: Attempt,
        client: &Client,
        outcome: Result<T, Error>,
    ) -> Result<T, Error> {
        let outcome = match outcome {
            Err(error @ (Error::Refused(_) | Error::LockedByAdmin)) => Err(self.tell(app, client, error).await),
            other => other,
        };
        let became = match &outcome {
            Ok(_) => Became::Right,
            Err(Error::Refused(_) | Error::LockedByAdmin) => Became::Wrong,
            Err(_) => Became::Untold,
        };
        let now = app.now();
        match (attempt.settle(&app.db, became, self.lock(now), now).await, became) {
            // Nobody is told that a try was wrong without its being counted.
            (Err(error), Became::Wrong) => return Err(error),
            // What was done by a right one is done, and why one was not evaluated is what the caller is told.
            (Err(error), _) => tracing::warn!(%error, "a try stays counted"),
            (Ok(()), _) => {}
        }
        outcome
    }

    /// Counts a refusal against the client's address, and answers what it is told.
    async fn tell(&self, app: &App, client: &Client, refusal: Error) -> Error {
        let Some(bucket) = address_bucket(&client.ip) else { return refusal };
        let now = app.now();
        match guards::count_failure(&app.db, &bucket, self.since(now), self.address_limit, now).await {
            Ok(None) => refusal,
            Ok(Some(oldest)) => self.address_limited(Some(oldest), now),
            Err(error) => error,
        }
    }

    /// Forgets the failures of addresses in the transaction of an administrator's act; answers how many, where there were any.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pardon(conn: &mut PgConnection, emails: &[String], now: Timestamp) -> Result<Option<i64>, Error> {
        let bucket =
            |email: &String| Account::Email { email: email.clone(), known_device: false }.bucket(&Client::default());
        guards::pardon(conn, &emails.iter().map(bucket).collect::<Vec<_>>(), now).await
    }

    /// Forgets the failures of an address and unlocks it: a reset password.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget(&self, app: &App, email: &str) -> Result<(), Error> {
        let account = Account::Email { email: email.to_owned(), known_device: false };
        guards::empty(&app.db, &account.bucket(&Client::default()), app.now()).await
    }
}

/// Where a full bucket stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Locked to then.
    pub locked_until: Option<Timestamp>,
    /// Tries being evaluated.
    pub undecided: i32,
    /// Last change.
    pub touched_at: Timestamp,
    /// Oldest try of the window.
    pub oldest: Option<Timestamp>,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Wait,
    Locked(Duration),
}

impl Standing {
    fn verdict(&self, now: Timestamp, stale: Timestamp, window: SignedDuration) -> Verdict {
        match self.locked_until {
            Some(until) if until > now => Verdict::Locked(left(until, SignedDuration::ZERO, now)),
            _ if self.undecided > 0 && self.touched_at > stale => Verdict::Wait,
            // Tries whose process died fill it: it frees as they leave the window.
            _ => match self.oldest {
                Some(oldest) => Verdict::Locked(left(oldest, window, now)),
                None => Verdict::Wait,
            },
        }
    }
}

/// Time from `now` to `start` + `length`, at least a second, whole seconds.
fn left(start: Timestamp, length: SignedDuration, now: Timestamp) -> Duration {
    let end = start.checked_add(length).unwrap_or(Timestamp::MAX);
    let ms = end.duration_since(now).as_millis().max(1);
    Duration::from_secs(u64::try_from(ms).unwrap_or(u64::MAX).div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_full_bucket_waits_for_what_is_being_evaluated_and_else_tells_when_it_frees() {
        let now = at("2026-01-01T00:10:00Z");
        let stale = at("2026-01-01T00:09:50Z");
        let window = SignedDuration::from_secs(600);
        let mut standing = Standing {
            locked_until: Some(at("2026-01-01T00:15:00.5Z")),
            undecided: 1,
            touched_at: now,
            oldest: Some(at("2026-01-01T00:01:00Z")),
        };
        assert_eq!(standing.verdict(now, stale, window), Verdict::Locked(Duration::from_secs(301)));
        standing.locked_until = Some(at("2026-01-01T00:09:00Z"));
        assert_eq!(standing.verdict(now, stale, window), Verdict::Wait);
        standing.undecided = 0;
        assert_eq!(standing.verdict(now, stale, window), Verdict::Locked(Duration::from_secs(60)));
    }
}
