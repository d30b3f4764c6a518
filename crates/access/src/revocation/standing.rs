//! How far the known revocations can be believed, and what is asked when they cannot.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use coreloop_core::Clock;
use redis::aio::ConnectionManager;
use tokio::sync::watch;

use super::{
    Revocation, Revoked,
    holds::Holds,
    known::{Known, Question},
    wire,
};
use crate::{Metrics, Options};

/// After a failed question Redis is left alone for this long, so that a hung Redis costs one time-out and not one a call.
const ASK_PAUSE_MS: u64 = 250;

/// How far the known revocations can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The stream was read just now: what is not known is not revoked.
    Live,
    /// The stream is late: Redis is asked about each token.
    Behind,
    /// Neither was readable, for this long.
    Blind(Duration),
}

/// What is known of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Clear,
    Revoked,
    /// Cannot be told; nothing was readable for this long. `None`: no snapshot was ever loaded.
    Unknown(Option<Duration>),
}

/// The revocations a process knows. Cloning shares them.
#[derive(Clone)]
pub struct Revocations(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) known: Known,
    holds: Holds,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    /// Name under which this process says how far it has read.
    pub(super) replica: String,
    pub(super) stale_ms: u64,
    pub(super) keys_changed: watch::Sender<()>,
    #[cfg(test)]
    pub(super) looked: watch::Sender<()>,
    ask_timeout: Duration,
    redis: Option<ConnectionManager>,
    /// Nothing to follow: what is known is all there is (tests, the `explain` command).
    alone: bool,
    ticks: Ticks,
    /// A complete snapshot was loaded at some time.
    loaded: AtomicBool,
    /// When the last good read of the stream was sent, in ticks; 0 is never.
    read_at: AtomicU64,
    /// When stream or Redis last told the truth, in ticks.
    told_at: AtomicU64,
    ask_again_at: AtomicU64,
}

/// Milliseconds since the process's set was made; starts above the staleness bound so that 0 means never.
struct Ticks {
    base: Instant,
    ahead: AtomicU64,
}

impl Ticks {
    const FIRST: u64 = 1 << 40;

    fn now(&self) -> u64 {
        let passed = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX / 2);
        Self::FIRST + passed + self.ahead.load(Ordering::Relaxed)
    }
}

impl Revocations {
    /// The set of a process that follows `redis`. Nothing is known, so nobody passes, until [`Revocations::follow`] has
    /// loaded a snapshot or Redis answers for itself. `replica` names the process among its peers; it must be unique.
    #[must_use]
    pub fn following(
        options: &Options,
        redis: ConnectionManager,
        replica: impl Into<String>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        Self::build(options, Some(redis), replica.into(), clock, metrics)
    }

    /// A set that follows nothing and is always believed: for tests and tools.
    #[must_use]
    pub fn alone(clock: Arc<dyn Clock>) -> Self {
        Self::build(&Options::default(), None, String::new(), clock, Metrics::default())
    }

    fn build(
        options: &Options,
        redis: Option<ConnectionManager>,
        replica: String,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        let ticks = Ticks { base: Instant::now(), ahead: AtomicU64::new(0) };
        let now = ticks.now();
        Self(Arc::new(Shared {
            known: Known::default(),
            holds: Holds::default(),
            clock,
            metrics,
            replica,
            stale_ms: u64::from(options.stale_ms),
            keys_changed: watch::Sender::new(()),
            #[cfg(test)]
            looked: watch::Sender::new(()),
            ask_timeout: Duration::from_millis(options.ask_timeout_ms.into()),
            alone: redis.is_none(),
            redis,
            ticks,
            loaded: AtomicBool::new(false),
            read_at: AtomicU64::new(0),
            told_at: AtomicU64::new(now),
            ask_again_at: AtomicU64::new(0),
        }))
    }

    /// The token is known to be revoked.
    #[must_use]
    pub fn knows(&self, question: &Question) -> bool {
        self.0.known.holds(question)
    }

    /// What is not known is not revoked.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.0.alone || self.0.ticks.now().saturating_sub(self.0.read_at.load(Ordering::Acquire)) < self.0.stale_ms
    }

    /// A complete snapshot was loaded at some time. Until then every token is refused, so nobody should be sent here.
    #[must_use]
    pub fn has_loaded(&self) -> bool {
        self.0.alone || self.0.loaded.load(Ordering::Acquire)
    }

    /// How far the known revocations can be believed.
    #[must_use]
    pub fn standing(&self) -> Standing {
        if self.is_live() {
            return Standing::Live;
        }
        let untold = self.untold();
        if untold.as_millis() < u128::from(self.0.stale_ms) { Standing::Behind } else { Standing::Blind(untold) }
    }

    /// Number of revocations known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.known.len()
    }

    /// Nothing is known to be revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.known.is_empty()
    }

    /// Learns a revocation at once, without Redis: the process that revokes is bound first.
    pub fn learn(&self, revocation: &Revocation) {
        self.0.known.add(revocation);
        self.0.holds.revoked(revocation);
    }

    /// The calls that are open.
    pub(crate) fn holds(&self) -> &Holds {
        &self.0.holds
    }

    /// Changes each time that a writer says that the published keys changed.
    #[must_use]
    pub fn keys_changed(&self) -> watch::Receiver<()> {
        self.0.keys_changed.subscribe()
    }

    /// Asks Redis itself about a token that is not known here.
    pub(crate) async fn ask(&self, question: &Question) -> Verdict {
        let told = self.ask_about(std::slice::from_ref(question)).await;
        if self.knows(question) {
            return Verdict::Revoked;
        }
        match told {
            true => Verdict::Clear,
            false => self.unknown(),
        }
    }

    /// Asks Redis itself about tokens; what is revoked of them is learned. `true` when Redis told the truth, so that what
    /// is not known now is not revoked.
    pub(crate) async fn ask_about(&self, questions: &[Question]) -> bool {
        let told = self.ask_redis(questions).await.is_some();
        if told {
            self.told(self.0.ticks.now());
        }
        told
    }

    /// What can be said of a token that is not known to be revoked while nothing tells the truth.
    pub(crate) fn unknown(&self) -> Verdict {
        Verdict::Unknown(self.0.loaded.load(Ordering::Acquire).then(|| self.untold()))
    }

    /// Learns which of the tokens are revoked; something when Redis answers in time and has an epoch that holds for it.
    async fn ask_redis(&self, questions: &[Question]) -> Option<()> {
        let shared = &*self.0;
        let now = shared.ticks.now();
        if now < shared.ask_again_at.load(Ordering::Relaxed) {
            return None;
        }
        shared.metrics.asked.inc();
        let mut connection = shared.redis.clone()?;
        let mut command = redis::pipe();
        command.cmd("INFO").arg("server").cmd("MGET").arg(wire::EPOCH);
        for question in questions {
            command.arg(wire::token_key(question.token.0));
            if let Some((user, session)) = question.user {
                command.arg(wire::session_key(session.0)).arg(wire::user_key(user.0));
            }
        }
        let reply = tokio::time::timeout(
            shared.ask_timeout,
            command.query_async::<(String, Vec<Option<String>>)>(&mut connection),
        );
        let Ok(Ok((info, values))) = reply.await else {
            shared.ask_again_at.store(now + ASK_PAUSE_MS, Ordering::Relaxed);
            return None;
        };
        let mut values = values.into_iter();
        let epoch = values.next().flatten();
        for question in questions {
            let token = values.next().flatten().is_some();
            let (session, until) = match question.user {
                Some(_) => (values.next().flatten().is_some(), values.next().flatten()),
                None => (false, None),
            };
            self.remember(question, token, session, until.and_then(|until| until.parse().ok()));
        }
        epoch.filter(|epoch| wire::holds_for(epoch, wire::run_of(&info))).map(|_| ())
    }

    /// Keeps what Redis answered. The expiry is not in the answer, so the entry stays as long as any token may live.
    fn remember(&self, question: &Question, token: bool, session: bool, until: Option<i64>) {
        let expires_at = question.issued_at + 90 * 24 * 3_600;
        if token {
            self.learn(&Revocation { what: Revoked::Token(question.token), expires_at });
        }
        if let Some((id, sid)) = question.user {
            if session {
                self.learn(&Revocation { what: Revoked::Session(sid), expires_at });
            }
            if let Some(issued_until) = until {
                self.learn(&Revocation { what: Revoked::User { id, issued_until }, expires_at });
            }
        }
    }

    /// For how long neither stream nor Redis has told the truth.
    fn untold(&self) -> Duration {
        Duration::from_millis(self.0.ticks.now().saturating_sub(self.0.told_at.load(Ordering::Acquire)))
    }

    fn told(&self, at: u64) {
        self.0.told_at.fetch_max(at, Ordering::AcqRel);
    }

    /// The time now, to be kept before a read is sent.
    pub(super) fn tick(&self) -> u64 {
        self.0.ticks.now()
    }

    /// A read that was sent at `sent` is applied, and the snapshot is loaded.
    pub(super) fn read(&self, sent: u64) {
        self.0.loaded.store(true, Ordering::Release);
        self.0.read_at.fetch_max(sent, Ordering::AcqRel);
        self.told(sent);
    }

    /// Changes each time that the stream was read or could not be, for tests that wait for what comes of it.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> watch::Receiver<()> {
        self.0.looked.subscribe()
    }

    /// Moves the set's own time forward, for tests of the state machine.
    #[cfg(test)]
    pub(crate) fn pass(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(0);
        self.0.ticks.ahead.fetch_add(ms, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Revocations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revocations")
            .field("known", &self.len())
            .field("standing", &self.standing())
            .finish_non_exhaustive()
    }
}
