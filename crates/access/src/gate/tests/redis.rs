//! The gate over a Redis of its own, which is stopped, emptied and started again.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{
    GET_ME, ISSUER, LOGOUT,
    replica::{Redis, Replica, of_token},
};
use crate::{
    Denied, Options, Revocation, Role,
    revocation::{Revoked, Standing},
};

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
    replica.eventually("it is written", async || replica.writer.rebuild(&run, &[]).await.is_ok()).await;
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
    replica.eventually("the loss is noticed", async || replica.standing() != Standing::Live).await;
    assert_eq!(replica.get_me(&token).await, Err(Denied::TokenRevoked), "what is known is kept");

    // One that starts now knows nothing and admits nobody.
    let fresh = Replica::start(&redis, "b").await;
    assert_eq!(fresh.get_me(&other).await, Err(Denied::RevocationUnknown));
    replica
        .eventually("the writer sees it", async || replica.writer.needs_rebuild().await.is_ok_and(|run| run.is_some()))
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
    replica
        .eventually("the writer sees it", async || replica.writer.needs_rebuild().await.is_ok_and(|run| run.is_some()))
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
    writing
        .eventually("the revocation is taken", async || {
            let taken = writing.writer.revoke(&[of_token(&claims)]).await;
            taken.is_ok_and(|written| written.everywhere && written.needs_rebuild)
        })
        .await;
    assert_ne!(deaf.standing(), Standing::Live, "it does not judge by memory any more");
    writing.eventually("it has asked redis", async || deaf.get_me(&token).await == Err(Denied::TokenRevoked)).await;
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
    replica.eventually("late", async || set.standing() != Standing::Live).await;
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
    replica.eventually("late", async || replica.standing() != Standing::Live).await;
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
}
