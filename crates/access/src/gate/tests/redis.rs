//! The gate over a Redis of its own, which is stopped, emptied and started again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use coreloop_core::{Clock as _, ManualClock, id::SystemIds};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use super::{GET_ME, ISSUER, LOGOUT, World};
use crate::{
    Denied, HeaderView, Hold, Metrics, Options, Revocation, RevocationWriter, Revocations, Role,
    revocation::{Revoked, Standing, WriteError},
    token::Claims,
};

#[path = "../../../../../tests/private_redis.rs"]
mod private_redis;

use private_redis::Redis;

async fn manager(redis: &Redis) -> ConnectionManager {
    let config = ConnectionManagerConfig::new()
        .set_max_delay(Duration::from_millis(100))
        .set_response_timeout(Some(Duration::from_secs(2)))
        .set_connection_timeout(Some(Duration::from_secs(2)));
    redis.client().get_connection_manager_with_config(config).await.unwrap()
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A replica: a gate that follows Redis.
struct Replica {
    world: World,
    writer: RevocationWriter,
    stop: CancellationToken,
}

impl Replica {
    /// One that waits for what it asks Redis for as long as two busy cores may take: it is not away.
    async fn start(redis: &Redis, name: &str) -> Self {
        Self::with(Options { ask_timeout_ms: 2_000, ..Options::default() }, redis, name).await
    }

    async fn with(options: Options, redis: &Redis, name: &str) -> Self {
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

    fn standing(&self) -> Standing {
        self.world.gate.revocations().standing()
    }

    async fn live(&self) {
        eventually("live", async || self.standing() == Standing::Live).await;
    }

    /// A user's claims and token, accepted once so that it is remembered.
    fn user(&self) -> (Claims, String) {
        let claims = ISSUER.access(self.world.now(), &[Role::Standard]);
        let token = ISSUER.user_ed.sign(&claims).unwrap();
        (claims, token)
    }

    /// An open call with this token, looked after by whoever oversees the gate.
    async fn hold(&self, token: &str) -> Hold {
        self.hold_at(GET_ME, token).await
    }

    async fn hold_at(&self, rpc: &str, token: &str) -> Hold {
        let gate = &self.world.gate;
        gate.hold(gate.policy().rpc(rpc).unwrap(), &HeaderView::Token(Some(token))).await.unwrap().unwrap()
    }

    async fn get_me(&self, token: &str) -> Result<(), Denied> {
        self.world.call(GET_ME, Some(token.as_bytes())).await
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Replica {
    /// Does what auth does: asks for the run, then rebuilds.
    async fn rebuild(&self, all: &[Revocation]) -> Result<(), WriteError> {
        match self.writer.needs_rebuild().await? {
            Some(run) => self.writer.rebuild(&run, all).await,
            None => Ok(()),
        }
    }
}

fn of_token(claims: &Claims) -> Revocation {
    Revocation { what: Revoked::Token(claims.id), expires_at: claims.expires_at }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_passes_before_revocations_were_read_once() {
    let redis = Redis::start().await;
    let replica = Replica::start(&redis, "a").await;
    let (_, token) = replica.user();
    // There is no epoch: what Redis does not say proves nothing.
    assert_eq!(replica.get_me(&token).await, Err(Denied::RevocationUnknown));
    assert!(!replica.world.gate.revocations().has_loaded());
    assert!(replica.writer.needs_rebuild().await.unwrap().is_some());
    replica.rebuild(&[]).await.unwrap();
    assert!(replica.writer.needs_rebuild().await.unwrap().is_none());
    replica.live().await;
    assert!(replica.world.gate.revocations().has_loaded());
    assert_eq!(replica.get_me(&token).await, Ok(()));
}

/// What was read from Postgres before Redis started again may lack what was written since, and is not believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_for_an_earlier_run_is_asked_for_again() {
    let mut redis = Redis::start().await;
    let replica = Replica::start(&redis, "a").await;
    let (_, token) = replica.user();
    let run = replica.writer.needs_rebuild().await.unwrap().unwrap();
    redis.restart().await;
    eventually("it is written", async || replica.writer.rebuild(&run, &[]).await.is_ok()).await;
    assert_eq!(replica.get_me(&token).await, Err(Denied::RevocationUnknown));
    assert!(!replica.world.gate.revocations().has_loaded());
    let next = replica.writer.needs_rebuild().await.unwrap().unwrap();
    assert_ne!(next, run);
    replica.writer.rebuild(&next, &[]).await.unwrap();
    replica.live().await;
    assert_eq!(replica.get_me(&token).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_accepted_anywhere_after_the_revoke_call_returned() {
    let redis = Redis::start().await;
    // A reader that is late by a second is not late here.
    let patient = || Options { stale_ms: 10_000, ..Options::default() };
    let replica = async |name| Replica::with(patient(), &redis, name).await;
    let replicas = [replica("a").await, replica("b").await, replica("c").await];
    replicas[0].rebuild(&[]).await.unwrap();
    for replica in &replicas {
        replica.live().await;
    }
    for round in 0..200 {
        let (claims, token) = replicas[0].user();
        for replica in &replicas {
            assert_eq!(replica.get_me(&token).await, Ok(()), "{round}");
        }
        let what = match round % 3 {
            0 => Revoked::Token(claims.id),
            1 => Revoked::Session(claims.session_id().unwrap()),
            _ => Revoked::User { id: claims.user_id().unwrap(), issued_until: claims.issued_at },
        };
        let written =
            replicas[round % 3].writer.revoke(&[Revocation { what, expires_at: claims.expires_at }]).await.unwrap();
        assert!(written.everywhere && !written.needs_rebuild, "{round}");
        for replica in &replicas {
            // By memory alone: no question to Redis is needed.
            assert_eq!(replica.standing(), Standing::Live);
            assert_eq!(replica.get_me(&token).await, Err(Denied::TokenRevoked), "{round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stopped_reading_asks_redis_itself() {
    let redis = Redis::start().await;
    let (reader, deaf) = (Replica::start(&redis, "a").await, Replica::start(&redis, "b").await);
    reader.rebuild(&[]).await.unwrap();
    reader.live().await;
    deaf.live().await;
    let (claims, token) = deaf.user();
    let (_, other) = deaf.user();
    assert_eq!(deaf.get_me(&token).await, Ok(()));
    deaf.stop.cancel();
    // The call returns only when the deaf one has lost its right to judge by memory.
    assert!(reader.writer.revoke(&[of_token(&claims)]).await.unwrap().everywhere);
    assert_ne!(deaf.standing(), Standing::Live);
    assert_eq!(deaf.get_me(&token).await, Err(Denied::TokenRevoked));
    assert_eq!(deaf.get_me(&other).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_knows_what_was_revoked_before_it_began() {
    let redis = Redis::start().await;
    let first = Replica::start(&redis, "a").await;
    first.rebuild(&[]).await.unwrap();
    first.live().await;
    let users: Vec<_> = (0..3_000).map(|_| ISSUER.access(first.world.now(), &[Role::Standard])).collect();
    let revocations: Vec<_> = users.iter().map(of_token).collect();
    assert!(first.writer.revoke(&revocations).await.unwrap().everywhere);
    let second = Replica::start(&redis, "b").await;
    second.live().await;
    assert_eq!(second.world.gate.revocations().len(), 3_000);
    let token = ISSUER.sign(&users[2_999]).unwrap();
    assert_eq!(second.get_me(&token).await, Err(Denied::TokenRevoked));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_is_not_believed_and_nothing_revoked_comes_back() {
    let mut redis = Redis::start().await;
    let replica = Replica::start(&redis, "a").await;
    replica.rebuild(&[]).await.unwrap();
    replica.live().await;
    let (claims, token) = replica.user();
    let (_, other) = replica.user();
    assert_eq!(replica.get_me(&other).await, Ok(()));
    assert!(replica.writer.revoke(&[of_token(&claims)]).await.unwrap().everywhere);

    redis.restart().await;
    eventually("the loss is noticed", async || replica.standing() != Standing::Live).await;
    assert_eq!(replica.get_me(&token).await, Err(Denied::TokenRevoked), "what is known is kept");

    // One that starts now knows nothing and admits nobody.
    let fresh = Replica::start(&redis, "b").await;
    assert_eq!(fresh.get_me(&other).await, Err(Denied::RevocationUnknown));
    eventually("the writer sees it", async || replica.writer.needs_rebuild().await.is_ok_and(|run| run.is_some()))
        .await;
    replica.rebuild(&[of_token(&claims)]).await.unwrap();
    fresh.live().await;
    replica.live().await;
    for replica in [&fresh, &replica] {
        assert_eq!(replica.get_me(&token).await, Err(Denied::TokenRevoked));
        assert_eq!(replica.get_me(&other).await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_with_what_it_saved_is_not_believed() {
    let mut redis = Redis::start().await;
    let replica = Replica::start(&redis, "a").await;
    replica.rebuild(&[]).await.unwrap();
    replica.live().await;
    let (claims, token) = replica.user();
    let (_, other) = replica.user();
    redis.save().await;
    assert!(replica.writer.revoke(&[of_token(&claims)]).await.unwrap().everywhere);

    redis.restart().await;
    let mut connection = redis.connect().await;
    let (epoch, revoked): (Option<String>, i64) = redis::pipe()
        .cmd("GET")
        .arg("auth:revocations:epoch")
        .cmd("EXISTS")
        .arg(format!("auth:blacklist:{}", claims.id))
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!((epoch.is_some(), revoked), (true, 0), "it has the epoch and not the last revocation");
    // One that starts now believes neither the snapshot nor the answer about a token.
    let fresh = Replica::start(&redis, "b").await;
    for token in [&token, &other] {
        assert_eq!(fresh.get_me(token).await, Err(Denied::RevocationUnknown));
    }
    eventually("the writer sees it", async || replica.writer.needs_rebuild().await.is_ok_and(|run| run.is_some()))
        .await;
    replica.rebuild(&[of_token(&claims)]).await.unwrap();
    for replica in [&fresh, &replica] {
        replica.live().await;
        assert_eq!(replica.get_me(&token).await, Err(Denied::TokenRevoked));
        assert_eq!(replica.get_me(&other).await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_word_was_lost_is_waited_for() {
    let mut redis = Redis::start().await;
    let (writing, deaf) = (Replica::start(&redis, "a").await, Replica::start(&redis, "b").await);
    writing.rebuild(&[]).await.unwrap();
    writing.live().await;
    deaf.live().await;
    let (claims, token) = deaf.user();
    assert_eq!(deaf.get_me(&token).await, Ok(()));
    deaf.stop.cancel();
    // Empty: nothing there says that the deaf one believes its memory for a while yet.
    redis.restart().await;
    eventually("the revocation is taken", async || {
        let taken = writing.writer.revoke(&[of_token(&claims)]).await;
        taken.is_ok_and(|written| written.everywhere && written.needs_rebuild)
    })
    .await;
    assert_ne!(deaf.standing(), Standing::Live, "it does not judge by memory any more");
    eventually("it has asked redis", async || deaf.get_me(&token).await == Err(Denied::TokenRevoked)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blind_refuses_fresh_calls_after_ten_seconds_and_all_after_five_minutes() {
    let redis = Redis::start().await;
    let replica = Replica::with(Options { ask_timeout_ms: 200, ..Options::default() }, &redis, "a").await;
    replica.rebuild(&[]).await.unwrap();
    replica.live().await;
    let (claims, token) = replica.user();
    let (_, other) = replica.user();
    let set = replica.world.gate.revocations().clone();
    let (get_me, logout) = (
        replica.world.gate.policy().rpc(GET_ME).unwrap().fresh,
        replica.world.gate.policy().rpc(LOGOUT).unwrap().fresh,
    );
    assert!(!get_me && logout);
    let call = async |rpc: &str, token: &str| replica.world.call(rpc, Some(token.as_bytes())).await;

    // Frozen, not dead: connections stay open and nothing answers.
    redis.signal(Signal::STOP);
    eventually("late", async || set.standing() != Standing::Live).await;
    assert_eq!(call(GET_ME, &other).await, Ok(()));
    assert_eq!(call(LOGOUT, &other).await, Ok(()));
    set.pass(Duration::from_secs(10));
    assert_eq!(call(LOGOUT, &other).await, Err(Denied::RevocationUnknown));
    assert_eq!(call(GET_ME, &other).await, Ok(()));
    assert!(replica.world.gate.metrics().degraded.get() >= 2);
    // What this process learnt by itself holds all the while.
    set.learn(&of_token(&claims));
    assert_eq!(call(GET_ME, &token).await, Err(Denied::TokenRevoked));
    set.pass(Duration::from_secs(290));
    assert_eq!(call(GET_ME, &other).await, Err(Denied::RevocationUnknown));

    redis.signal(Signal::CONT);
    replica.live().await;
    assert_eq!(call(LOGOUT, &other).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_redis_costs_one_time_out_and_not_one_a_call() {
    let redis = Redis::start().await;
    let replica = Replica::with(Options { ask_timeout_ms: 200, ..Options::default() }, &redis, "a").await;
    replica.rebuild(&[]).await.unwrap();
    replica.live().await;
    let (_, token) = replica.user();
    redis.signal(Signal::STOP);
    eventually("late", async || replica.standing() != Standing::Live).await;
    let begun = Instant::now();
    for _ in 0..500 {
        assert_eq!(replica.get_me(&token).await, Ok(()));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    redis.signal(Signal::CONT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_that_redis_does_not_take_is_an_error_and_holds_here() {
    let mut redis = Redis::start().await;
    let replica = Replica::start(&redis, "a").await;
    replica.rebuild(&[]).await.unwrap();
    replica.live().await;
    let (claims, token) = replica.user();
    redis.stop();
    assert!(replica.writer.revoke(&[of_token(&claims)]).await.is_err());
    assert_eq!(replica.get_me(&token).await, Err(Denied::TokenRevoked));
    let _ = replica.world.clock.now();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_call_ends_by_the_stream_and_by_redis_itself_when_that_is_late() {
    let redis = Redis::start().await;
    let (reader, deaf) = (Replica::start(&redis, "a").await, Replica::start(&redis, "b").await);
    reader.rebuild(&[]).await.unwrap();
    reader.live().await;
    deaf.live().await;
    // By the stream: nothing else runs here.
    let (claims, token) = reader.user();
    let hold = reader.hold(&token).await;
    assert!(deaf.writer.revoke(&[of_token(&claims)]).await.unwrap().everywhere);
    assert_eq!(ended(&hold).await, Denied::TokenRevoked);
    // By Redis itself: the stream is not read any more, only the gate's own loop runs.
    let (claims, token) = deaf.user();
    let (_, other) = deaf.user();
    let (hold, goes_on) = (deaf.hold(&token).await, deaf.hold(&other).await);
    deaf.stop.cancel();
    let stop = CancellationToken::new();
    let work = async {
        let since = Instant::now();
        assert!(reader.writer.revoke(&[of_token(&claims)]).await.unwrap().everywhere);
        assert_eq!(ended(&hold).await, Denied::TokenRevoked);
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
        assert!(futures::poll!(std::pin::pin!(ended(&goes_on))).is_pending());
        stop.cancel();
    };
    tokio::join!(deaf.world.gate.oversee(&stop), work);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_calls_that_must_be_fresh_end_before_others_when_nothing_can_be_read() {
    let mut redis = Redis::start().await;
    let replica = Replica::start(&redis, "a").await;
    replica.rebuild(&[]).await.unwrap();
    replica.live().await;
    let (_, token) = replica.user();
    let (fresh, other) = (replica.hold_at(LOGOUT, &token).await, replica.hold(&token).await);
    redis.stop();
    let stop = CancellationToken::new();
    let work = async {
        eventually("blind", async || matches!(replica.standing(), Standing::Blind(_))).await;
        assert!(futures::poll!(std::pin::pin!(ended(&fresh))).is_pending(), "not yet");
        replica.world.gate.revocations().pass(Duration::from_secs(10));
        assert_eq!(ended(&fresh).await, Denied::RevocationUnknown);
        assert!(futures::poll!(std::pin::pin!(ended(&other))).is_pending(), "others go on");
        replica.world.gate.revocations().pass(Duration::from_secs(290));
        assert_eq!(ended(&other).await, Denied::RevocationUnknown);
        stop.cancel();
    };
    tokio::join!(replica.world.gate.oversee(&stop), work);
}

async fn ended(hold: &Hold) -> Denied {
    let end = std::future::poll_fn(|cx| hold.poll_ended(cx));
    tokio::time::timeout(Duration::from_secs(30), end).await.unwrap()
}
