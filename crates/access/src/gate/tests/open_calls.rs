//! Open calls over a Redis of the test's own: they end when a new call with their token would be refused.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{
    GET_ME, LOGOUT,
    replica::{Redis, Replica, of_token},
};
use crate::{Denied, HeaderView, Hold, revocation::Standing};

/// An open call with this token, looked after by whoever oversees the gate.
async fn open_call(replica: &Replica, rpc: &str, token: &str) -> Hold {
    let gate = &replica.world.gate;
    gate.hold(gate.policy().rpc(rpc).unwrap(), &HeaderView::Token(Some(token))).await.unwrap().unwrap()
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
    let hold = open_call(&reader, GET_ME, &token).await;
    assert!(deaf.writer.revoke(&[of_token(&claims)]).await.unwrap().everywhere);
    assert_eq!(ended(&hold).await, Denied::TokenRevoked);
    // By Redis itself: the stream is not read any more, only the gate's own loop runs.
    let (claims, token) = deaf.user();
    let (_, other) = deaf.user();
    let (hold, goes_on) = (open_call(&deaf, GET_ME, &token).await, open_call(&deaf, GET_ME, &other).await);
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
    let (fresh, other) = (open_call(&replica, LOGOUT, &token).await, open_call(&replica, GET_ME, &token).await);
    redis.stop();
    let stop = CancellationToken::new();
    let work = async {
        replica.eventually("blind", async || matches!(replica.standing(), Standing::Blind(_))).await;
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
