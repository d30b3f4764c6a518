//! The gate over the committed descriptors.

mod matrix;
mod open_calls;
mod paths;
mod redis;
mod replica;
mod tokens;

use std::sync::{Arc, LazyLock};

use coreloop_core::{Clock as _, ManualClock};

use super::Parts;
use crate::{Decision, Denied, Gate, HeaderView, Keys, Metrics, Options, Policy, Revocations, Role, testing::Issuer};

pub(super) const GET_ME: &str = "/coreloop.auth.v1.AuthService/GetMe";
pub(super) const AUTHORIZE: &str = "/coreloop.auth.v1.AuthService/Authorize";
pub(super) const LOGOUT: &str = "/coreloop.auth.v1.AuthService/Logout";

/// One issuer for all tests: making RSA keys is slow.
pub(super) static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new().unwrap());

/// A gate and the time it lives in.
pub(super) struct World {
    pub(super) gate: Gate,
    pub(super) clock: ManualClock,
}

impl World {
    pub(super) fn new() -> Self {
        let clock = ManualClock::new();
        let revocations = Revocations::alone(Arc::new(clock.clone()));
        Self::with(clock, revocations)
    }

    pub(super) fn with(clock: ManualClock, revocations: Revocations) -> Self {
        let gate = Gate::new(Parts {
            options: Options { cache_entries: 1_000, ..Options::default() },
            clock: Arc::new(clock.clone()),
            policy: Policy::committed().unwrap(),
            keys: Keys::fixed(&ISSUER.jwks().unwrap()),
            revocations,
            metrics: Metrics::default(),
        });
        Self { gate, clock }
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.unix()
    }

    pub(super) fn token(&self, roles: &[Role]) -> String {
        ISSUER.sign(&ISSUER.access(self.now(), roles)).unwrap()
    }

    /// Calls as a service would see it, with the token in a header map.
    pub(super) async fn call(&self, rpc: &str, token: Option<&[u8]>) -> Result<(), Denied> {
        let mut headers = http::HeaderMap::new();
        if let Some(token) = token {
            let Ok(value) = http::HeaderValue::from_bytes(&[b"Bearer ", token].concat()) else {
                // What no header can carry never arrives; the bytes are tried where they could.
                return outcome(self.picked(rpc, token).await);
            };
            headers.insert(http::header::AUTHORIZATION, value);
        }
        outcome(self.gate.decide_rpc(rpc, &HeaderView::Map(&headers), false).await)
    }

    /// Calls with bytes that no header map would hold.
    async fn picked(&self, rpc: &str, token: &[u8]) -> Decision {
        let value = [b"Bearer ", token].concat();
        let picked = super::Picked { authorization: Some(&value), ..Default::default() };
        self.gate.decide_rpc(rpc, &HeaderView::Picked(&picked), false).await
    }

    /// Asks at the edge.
    pub(super) async fn edge(&self, method: &str, path: &str, token: Option<&str>) -> Result<(), Denied> {
        outcome(self.gate.decide_http(method, path, &HeaderView::Token(token)).await)
    }
}

pub(super) fn outcome(decision: Decision) -> Result<(), Denied> {
    match decision {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(denied) => Err(denied),
    }
}
