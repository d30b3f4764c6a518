//! The decision. See the crate's essay.

mod explain;
mod headers;
mod judge;
mod oversee;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests;

use std::{sync::Arc, time::Duration};

use coreloop_core::Clock;
use tokio_util::sync::CancellationToken;

pub use explain::Explanation;
pub use headers::{HeaderView, Picked};

use crate::{
    Allowed, Caller, Decision, Denied, Keys, Metrics, Options, Policy, Revocations, RpcPolicy,
    cache::Cache,
    policy::{Level, Place},
    token::Rules,
};

/// Longest raw path looked at; the edge admits no longer one.
const LONGEST_PATH: usize = 8 * 1024;

/// What a gate is made of.
#[derive(Debug)]
pub struct Parts {
    /// Settings.
    pub options: Options,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Access of every RPC.
    pub policy: Policy,
    /// Public keys.
    pub keys: Keys,
    /// Revocations.
    pub revocations: Revocations,
    /// Metrics; the same that the revocations were given.
    pub metrics: Metrics,
}

/// Decides every request of a process. One for each process, shared.
#[derive(Debug)]
pub struct Gate {
    rules: Rules,
    keys_refresh: Duration,
    blind_after: Duration,
    blind_limit: Duration,
    clock: Arc<dyn Clock>,
    policy: Policy,
    keys: Keys,
    revocations: Revocations,
    cache: Cache,
    metrics: Metrics,
}

impl Gate {
    /// A gate. It admits only public RPCs until keys are known and revocations were read.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { options, clock, policy, keys, revocations, metrics } = parts;
        Self {
            rules: Rules::new(&options),
            keys_refresh: Duration::from_secs(options.keys_refresh_secs.max(1).into()),
            blind_after: Duration::from_secs(options.blind_after_secs.into()),
            blind_limit: Duration::from_secs(options.blind_limit_secs.into()),
            cache: Cache::new(options.cache_entries),
            clock,
            policy,
            keys,
            revocations,
            metrics,
        }
    }

    /// Decides a request as the edge sees it: REST by the router, gRPC (by its content type) by path. Never admits what is for
    /// the mesh only. `raw_path` is as sent, still encoded, with its query. A request that asks for a WebSocket may come without a
    /// token where the RPC says that its token may come late; one with a token is judged by it.
    pub async fn decide_http(&self, method: &str, raw_path: &str, headers: &HeaderView<'_>) -> Decision {
        match self.place(method, raw_path, headers) {
            Ok(Aim::Rpc(rpc)) if method == "GET" && comes_late(&rpc, headers) => {
                Decision::Allow(Allowed { caller: Caller::Anonymous, rpc, degraded: false })
            }
            Ok(Aim::Rpc(rpc)) => self.decide(rpc, headers, true).await,
            Ok(Aim::Preflight(rpc)) => Decision::Allow(Allowed { caller: Caller::Anonymous, rpc, degraded: false }),
            Err(denied) => self.deny(denied),
        }
    }

    /// Decides a gRPC call as a service sees it. `from_edge` says that it comes from outside the mesh.
    pub async fn decide_rpc(&self, rpc_path: &str, headers: &HeaderView<'_>, from_edge: bool) -> Decision {
        match self.policy.rpc(rpc_path) {
            Some(rpc) => self.decide(Arc::clone(rpc), headers, from_edge).await,
            None => self.deny(Denied::UnknownPath),
        }
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The revocations.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The rules of tokens, for those who verify by themselves (the refresh of a session).
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The metrics, to be registered once.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Number of tokens remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.cache.len()
    }

    /// Keeps keys and revocations current until `stop`: follows the stream of `redis` and reads the keys again every
    /// `keys_refresh_secs` and whenever a writer says they changed. Ends the open calls whose token stopped counting.
    pub async fn run(&self, redis: Option<redis::Client>, stop: CancellationToken) {
        let mut changed = self.revocations.keys_changed();
        let keys = async {
            loop {
                self.keys.refresh().await;
                // Until the first keys are read nobody can sign in: try again soon.
                let pause = if self.keys.is_empty() { Duration::from_millis(200) } else { self.keys_refresh };
                tokio::select! {
                    () = stop.cancelled() => break,
                    _ = changed.changed() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
        };
        let follow = async {
            match redis {
                Some(client) => self.revocations.follow(client, stop.clone()).await,
                None => stop.cancelled().await,
            }
        };
        futures::join!(keys, follow, self.oversee(&stop));
    }

    /// Finds what a request at the edge aims at.
    fn place(&self, method: &str, raw_path: &str, headers: &HeaderView<'_>) -> Result<Aim, Denied> {
        if raw_path.len() > LONGEST_PATH {
            return Err(Denied::MalformedPath);
        }
        if method == "OPTIONS"
            && headers.get("origin").is_some()
            && let Some(asked) = headers.get("access-control-request-method")
        {
            return self.target(asked, raw_path, asked == "POST").map(Aim::Preflight);
        }
        let grpc =
            headers.get("content-type").is_some_and(|value| starts_with_ignoring_case(value, "application/grpc"));
        self.target(method, raw_path, grpc && method == "POST").map(Aim::Rpc)
    }

    fn target(&self, method: &str, raw_path: &str, may_be_grpc: bool) -> Result<Arc<RpcPolicy>, Denied> {
        if may_be_grpc && let Some(rpc) = self.policy.rpc(raw_path) {
            return Ok(Arc::clone(rpc));
        }
        match self.policy.find(method, raw_path) {
            Place::Rpc(rpc) => Ok(rpc),
            Place::WrongMethod { allow } => Err(Denied::UnknownMethod { allow }),
            Place::BadEscape => Err(Denied::MalformedPath),
            Place::NotFound => Err(Denied::UnknownPath),
        }
    }

    async fn decide(&self, rpc: Arc<RpcPolicy>, headers: &HeaderView<'_>, from_edge: bool) -> Decision {
        if rpc.mesh_only && from_edge {
            return self.deny(Denied::MeshOnly);
        }
        match rpc.level {
            Level::Unspecified => self.deny(Denied::NoPolicy),
            Level::Public => Decision::Allow(Allowed { caller: Caller::Anonymous, rpc, degraded: false }),
            level => match headers.bearer() {
                Err(invalid) => self.deny(Denied::TokenInvalid(invalid)),
                Ok(None) if level == Level::Optional => {
                    Decision::Allow(Allowed { caller: Caller::Anonymous, rpc, degraded: false })
                }
                Ok(None) => self.deny(Denied::TokenMissing),
                Ok(Some(token)) => match self.judge(token, &rpc).await {
                    Ok(judged) => Decision::Allow(Allowed { caller: judged.caller, rpc, degraded: judged.degraded }),
                    Err(denied) => self.deny(denied),
                },
            },
        }
    }

    fn deny(&self, denied: Denied) -> Decision {
        let reason = denied.reason().as_str_name();
        self.metrics.denied.get_or_create(&crate::metrics::Outcome { reason }).inc();
        Decision::Deny(denied)
    }
}

/// What a request at the edge aims at.
enum Aim {
    Rpc(Arc<RpcPolicy>),
    /// A browser asks whether it may ask (CORS); the edge answers by itself and nothing is reached.
    Preflight(Arc<RpcPolicy>),
}

/// The token will come with the first message of the socket that is asked for. Only what no header brought at all is late.
fn comes_late(rpc: &RpcPolicy, headers: &HeaderView<'_>) -> bool {
    rpc.late_token
        && !rpc.mesh_only
        && matches!(headers.bearer(), Ok(None))
        && headers.get("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

fn starts_with_ignoring_case(value: &str, prefix: &str) -> bool {
    value.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}
