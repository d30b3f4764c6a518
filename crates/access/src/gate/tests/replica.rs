//! A gate that follows a Redis of the test's own.

#[path = "../../../../../tests/private_redis.rs"]
mod private_redis;

use std::{sync::Arc, time::Duration};

use coreloop_core::{ManualClock, id::SystemIds};
pub(super) use private_redis::Redis;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio_util::sync::CancellationToken;

use super::{GET_ME, ISSUER, World};
use crate::{
    Denied, Metrics, Options, Revocation, RevocationWriter, Revocations, Role,
    revocation::{Revoked, Standing, WriteError},
    token::Claims,
};

/// Two cores run every test at once.
const LONG: Duration = Duration::from_secs(30);

async fn manager(redis: &Redis) -> ConnectionManager {
    let config = ConnectionManagerConfig::new()
        .set_max_delay(Duration::from_millis(100))
        .set_response_timeout(Some(Duration::from_secs(2)))
        .set_connection_timeout(Some(Duration::from_secs(2)));
    redis.client().get_connection_manager_with_config(config).await.unwrap()
}

/// A replica: a gate that follows Redis.
pub(super) struct Replica {
    pub(super) world: World,
    pub(super) writer: RevocationWriter,
    pub(super) stop: CancellationToken,
}

impl Replica {
    /// One that waits for what it asks Redis for as long as two busy cores may take: it is not away.
    pub(super) async fn start(redis: &Redis, name: &str) -> Self {
        Self::with(Options { ask_timeout_ms: 2_000, ..Options::default() }, redis, name).await
    }

    pub(super) async fn with(options: Options, redis: &Redis, name: &str) -> Self {
        let clock = ManualClock::new();
        let manager = manager(redis).await;
        let set = Revocations::following(&options, manager.clone(), name, Arc::new(clock.clone()), Metrics::default());
        let stop = CancellationToken::new();
        tokio::spawn({
            let (set, client, stop) = (set.clone(), redis.client(), stop.clone());
            async move { set.follow(client, stop).await }
        });
        let writer = RevocationWriter::new(manager, set.clone(), Arc::new(SystemIds));
        Self { world: World::with(clock, set), writer, stop }
    }

    pub(super) fn standing(&self) -> Standing {
        self.world.gate.revocations().standing()
    }

    /// Waits until `holds`, looking each time that this replica has read the stream or could not.
    pub(super) async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let mut looks = self.world.gate.revocations().looks();
        let looking = async {
            while !holds().await {
                looks.changed().await.unwrap();
            }
        };
        assert!(tokio::time::timeout(LONG, looking).await.is_ok(), "not in time: {what}");
    }

    pub(super) async fn live(&self) {
        self.eventually("live", async || self.standing() == Standing::Live).await;
    }

    /// A user's claims and token, accepted once so that it is remembered.
    pub(super) fn user(&self) -> (Claims, String) {
        let claims = ISSUER.access(self.world.now(), &[Role::Standard]);
        let token = ISSUER.user_ed.sign(&claims).unwrap();
        (claims, token)
    }

    pub(super) async fn get_me(&self, token: &str) -> Result<(), Denied> {
        self.world.call(GET_ME, Some(token.as_bytes())).await
    }

    /// Does what auth does: asks for the run, then rebuilds.
    pub(super) async fn rebuild(&self, all: &[Revocation]) -> Result<(), WriteError> {
        match self.writer.needs_rebuild().await? {
            Some(run) => self.writer.rebuild(&run, all).await,
            None => Ok(()),
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) fn of_token(claims: &Claims) -> Revocation {
    Revocation { what: Revoked::Token(claims.id), expires_at: claims.expires_at }
}
