//! What the service layers ask.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use coreloop_core::{Problem, Reason, UserId};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use redis::aio::ConnectionManager;

use crate::{
    Options,
    local::Local,
    plan::{self, Endpoint, Window},
    script::{self, Budget},
};

/// After a failure Redis is left alone for this long, so that a hung one costs a time-out now and then and not each call.
const PAUSE: Duration = Duration::from_millis(500);

/// Whose call is counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject {
    /// The signed-in user.
    pub user: Option<UserId>,
    /// The client's address; none for calls that come from no network.
    pub address: Option<IpAddr>,
    /// A service of the mesh calls: no limit applies.
    pub machine: bool,
}

/// What the window that is nearest to full says of an admitted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    /// `RateLimit-Limit`.
    pub limit: u32,
    /// `RateLimit-Remaining`.
    pub remaining: u32,
    /// `RateLimit-Reset`, seconds until more room, rounded up.
    pub reset_secs: u64,
}

/// A call that has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many calls; at most {} in the window", headers.limit)]
pub struct Limited {
    /// The window that is full.
    pub headers: Headers,
    /// When a retry can succeed; at least a second.
    pub retry_after: Duration,
}

impl From<Limited> for Problem {
    fn from(limited: Limited) -> Self {
        Self::common(Reason::RateLimited, limited.to_string())
            .with("limit", limited.headers.limit.to_string())
            .retry_after(limited.retry_after)
    }
}

/// Outcome of one decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) admitted: bool,
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    pub(crate) reset: Duration,
    pub(crate) wait: Duration,
}

/// Limits the calls of a process. One for each process, shared.
pub struct Limiter {
    enabled: bool,
    timeout: Duration,
    redis: Option<ConnectionManager>,
    endpoints: HashMap<String, Endpoint>,
    anonymous: Vec<Window>,
    local: Local,
    nonce: AtomicU64,
    base: Instant,
    /// Milliseconds after `base` before which Redis is not asked.
    asleep_until: AtomicU64,
    refused: Counter,
    approximated: Counter,
}

impl Limiter {
    /// A limiter over the committed descriptors; without Redis it is always approximate. `seed` makes the members of this
    /// process distinct from those of its peers: give a random number.
    #[must_use]
    pub fn new(options: &Options, redis: Option<ConnectionManager>, seed: u64) -> Self {
        let endpoints = plan::endpoints(coreloop_transcode::descriptor::pool(), options);
        let anonymous: Vec<Window> =
            Window::new(options.anonymous_per_minute, Duration::from_secs(60), options.scale).into_iter().collect();
        let local = Local::new(endpoints.values().flat_map(|endpoint| &endpoint.windows).chain(&anonymous));
        Self {
            enabled: options.enabled,
            timeout: Duration::from_millis(options.redis_timeout_ms.into()),
            redis,
            endpoints,
            anonymous,
            local,
            nonce: AtomicU64::new(seed),
            base: Instant::now(),
            asleep_until: AtomicU64::new(0),
            refused: Counter::default(),
            approximated: Counter::default(),
        }
    }

    /// Registers the limiter's metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("coreloop_limit_refused", "Calls refused for their number", self.refused.clone());
        registry.register(
            "coreloop_limit_approximated",
            "Calls decided by local limits because Redis did not answer",
            self.approximated.clone(),
        );
    }

    /// Counts a call of an RPC, or refuses it. Answers nothing when no limit applies; touches Redis only when one does.
    ///
    /// # Errors
    /// [`Limited`] when a window has no room.
    pub async fn check(&self, rpc_path: &str, subject: &Subject) -> Result<Option<Headers>, Limited> {
        if !self.enabled || subject.machine {
            return Ok(None);
        }
        let Some(endpoint) = self.endpoints.get(rpc_path) else { return Ok(None) };
        self.decide(&self.budgets(endpoint, subject)).await
    }

    /// Counts a request of an address that no RPC answers for, in the budget over the whole API: what is refused on its way
    /// costs as much as what is served.
    ///
    /// # Errors
    /// [`Limited`] when the budget is used up.
    pub async fn check_address(&self, address: IpAddr) -> Result<Option<Headers>, Limited> {
        if !self.enabled || self.anonymous.is_empty() {
            return Ok(None);
        }
        self.decide(&[self.budget(network(address))]).await
    }

    async fn decide(&self, budgets: &[Budget<'_>]) -> Result<Option<Headers>, Limited> {
        if budgets.is_empty() {
            return Ok(None);
        }
        let measure = match self.ask_redis(budgets).await {
            Some(measure) => measure,
            None => {
                self.approximated.inc();
                self.local.decide(budgets)
            }
        };
        self.answer(measure).map(Some)
    }

    /// What an anonymous address has over the whole API.
    fn budget(&self, address: IpAddr) -> Budget<'_> {
        Budget { key: format!("rl:api:ip:{address}"), windows: &self.anonymous }
    }

    fn budgets<'a>(&'a self, endpoint: &'a Endpoint, subject: &Subject) -> Vec<Budget<'a>> {
        let address = subject.address.map(network);
        let mut budgets = Vec::new();
        if !endpoint.windows.is_empty() {
            let counted = match (subject.user, address) {
                (Some(user), _) if !endpoint.by_address => Some(format!("user:{user}")),
                (_, Some(address)) => Some(format!("ip:{address}")),
                // A user without an address, limited by address: the user is the best that is known.
                (Some(user), None) => Some(format!("user:{user}")),
                (None, None) => None,
            };
            if let Some(counted) = counted {
                budgets.push(Budget { key: format!("rl:{}:{counted}", endpoint.name), windows: &endpoint.windows });
            }
        }
        if let (None, Some(address), false) = (subject.user, address, endpoint.unbudgeted || self.anonymous.is_empty())
        {
            budgets.push(self.budget(address));
        }
        budgets
    }

    async fn ask_redis(&self, budgets: &[Budget<'_>]) -> Option<Measure> {
        let redis = self.redis.as_ref()?;
        let now = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now < self.asleep_until.load(Ordering::Relaxed) {
            return None;
        }
        let nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(self.timeout, script::decide(redis, budgets, nonce)).await {
            Ok(Ok(measure)) => return Some(measure),
            Ok(Err(error)) => tracing::warn!(%error, "limits cannot be read from Redis; local ones hold"),
            Err(_) => tracing::warn!("Redis is too slow for limits; local ones hold"),
        }
        let pause = u64::try_from(PAUSE.as_millis()).unwrap_or(0);
        self.asleep_until.store(now.saturating_add(pause), Ordering::Relaxed);
        None
    }

    fn answer(&self, measure: Measure) -> Result<Headers, Limited> {
        let reset_secs = measure.reset.as_secs() + u64::from(measure.reset.subsec_nanos() > 0);
        let headers = Headers { limit: measure.limit, remaining: measure.remaining, reset_secs };
        if measure.admitted {
            return Ok(headers);
        }
        self.refused.inc();
        let wait = measure.wait.as_secs() + u64::from(measure.wait.subsec_nanos() > 0);
        Err(Limited { headers, retry_after: Duration::from_secs(wait.max(1)) })
    }
}

/// What is counted as one client: an IPv4 address, or the /64 that one IPv6 subscriber has to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & (u128::MAX << 64))),
        v4 => v4,
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter")
            .field("enabled", &self.enabled)
            .field("endpoints", &self.endpoints.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
mod tests;
