//! Faults that are switched from outside, and counters of what was asked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{extract::Request, middleware::Next, response::Response};
use serde::{Deserialize, Serialize};

use crate::{
    spoilt::{broken, cut, failure, garbage, over_quota, stall, trickle},
    state::State,
};

/// Most faults switched on at once.
const MOST: usize = 100;
/// Longest wait of a fault, in milliseconds.
const LONGEST_MS: u64 = 120_000;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The answer comes `ms` later.
    Latency,
    /// `status` with an error body of the provider.
    Error,
    /// Status 200 and a body that is no JSON.
    Garbage,
    /// Nothing is answered for `ms` (default 60 s).
    Timeout,
    /// The connection breaks in the middle of the answer.
    Reset,
    /// The work is done, and then the connection breaks in the middle of the answer.
    Lost,
    /// An ID token that lies; `what` says how. Google's token endpoint only.
    Tamper,
    /// `times` requests are left (default none); every later one is refused as over the quota, until the faults are cleared.
    Quota,
    /// The answer breaks off half way.
    Cut,
    /// Every piece of a streamed answer comes `ms` later (default 200) than the one before.
    Trickle,
    /// The first half of an answer comes, and the rest `ms` later (default 60 s).
    Stall,
}

/// A fault, switched on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// `google`, `kakao`, `kakao_local`, `naver`, `sendgrid`, `age`, `vendor`, `payment`, `s3`, `cdn`, `openai`, `fcm`, or `*`.
    pub(crate) provider: String,
    /// `authorize`, `token`, `userinfo`, `discovery`, `jwks`, `send`, `order`, `cancel`, `pay`, `look`, `void`, `put`, `get`,
    /// `head`, `delete`, `list`, `vision`, `chat`, `classify`, `keyword`, `category`, `address`, `coord2address`; absent: any.
    pub(crate) endpoint: Option<String>,
    /// What goes wrong.
    pub(crate) kind: Kind,
    /// Status of `error`; default 503. Status of `quota`; default what the provider says.
    pub(crate) status: Option<u16>,
    /// How often; absent: until switched off. Of `quota`: how many requests are left.
    pub(crate) times: Option<u32>,
    /// Wait in milliseconds.
    pub(crate) ms: Option<u64>,
    /// How a token lies.
    pub(crate) what: Option<String>,
}

/// Where a request arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    /// Provider.
    pub(crate) provider: &'static str,
    /// Endpoint.
    pub(crate) endpoint: &'static str,
}

impl Fault {
    fn hits(&self, at: At) -> bool {
        (self.provider == "*" || self.provider == at.provider)
            && self.endpoint.as_deref().is_none_or(|endpoint| endpoint == at.endpoint)
    }

    fn wait(&self, default_ms: u64) -> Duration {
        Duration::from_millis(self.ms.unwrap_or(default_ms).min(LONGEST_MS))
    }
}

/// What an endpoint has seen.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Count {
    /// Requests that arrived.
    requests: u64,
    /// Requests that a fault met.
    faulted: u64,
    /// Answers below 400.
    ok: u64,
    /// Answers of 400 and more.
    refused: u64,
}

/// The switched faults and the counters.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    switched: Mutex<Vec<Fault>>,
    counts: Mutex<BTreeMap<String, Count>>,
}

impl Faults {
    /// Switches a fault on. `false` when too many are.
    pub(crate) fn switch_on(&self, fault: Fault) -> bool {
        let mut switched = self.switched();
        let room = switched.len() < MOST;
        if room {
            switched.push(fault);
        }
        room
    }

    /// Switches every fault off.
    pub(crate) fn clear(&self) {
        self.switched().clear();
    }

    /// Takes the first fault that meets a request, once of its times. A quota that is not used up lets the request by.
    fn take(&self, at: At, tamper: bool) -> Option<Fault> {
        let mut switched = self.switched();
        let mut taken = None;
        switched.retain_mut(|fault| {
            if taken.is_some() || (fault.kind == Kind::Tamper) != tamper || !fault.hits(at) {
                return true;
            }
            if fault.kind == Kind::Quota {
                match fault.times.filter(|left| *left > 0) {
                    Some(left) => fault.times = Some(left - 1),
                    None => taken = Some(fault.clone()),
                }
                return true;
            }
            taken = Some(fault.clone());
            fault.times = fault.times.map(|times| times.saturating_sub(1));
            fault.times != Some(0)
        });
        taken
    }

    /// How the next ID token lies.
    pub(crate) fn tamper(&self, at: At) -> Option<String> {
        self.take(at, true).map(|fault| fault.what.unwrap_or_default())
    }

    /// Counters by `provider/endpoint`.
    pub(crate) fn counts(&self) -> BTreeMap<String, Count> {
        self.counting().clone()
    }

    fn count(&self, at: At, act: impl FnOnce(&mut Count)) {
        act(self.counting().entry(format!("{}/{}", at.provider, at.endpoint)).or_default());
    }

    fn switched(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.switched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counting(&self) -> MutexGuard<'_, BTreeMap<String, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a request, and lets a fault meet it.
pub(crate) async fn play(state: Arc<State>, at: At, request: Request, next: Next) -> Response {
    state.faults.count(at, |count| count.requests += 1);
    let fault = state.faults.take(at, false);
    if fault.is_some() {
        state.faults.count(at, |count| count.faulted += 1);
    }
    let response = match fault {
        None => next.run(request).await,
        Some(fault) => match fault.kind {
            Kind::Latency => {
                tokio::time::sleep(fault.wait(200)).await;
                next.run(request).await
            }
            Kind::Error => failure(at, fault.status),
            Kind::Timeout => {
                tokio::time::sleep(fault.wait(60_000)).await;
                failure(at, Some(504))
            }
            Kind::Reset => broken(),
            Kind::Lost => {
                let _unheard = next.run(request).await;
                broken()
            }
            Kind::Garbage | Kind::Tamper => garbage(),
            Kind::Quota => over_quota(at, fault.status),
            Kind::Cut => cut(next.run(request).await).await,
            Kind::Trickle => trickle(next.run(request).await, fault.wait(200)),
            Kind::Stall => stall(next.run(request).await, fault.wait(60_000)).await,
        },
    };
    let refused = response.status().as_u16() >= 400;
    state.faults.count(at, |count| if refused { count.refused += 1 } else { count.ok += 1 });
    response
}
