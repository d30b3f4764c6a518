//! The limiter over a Redis of its own and without any.

use std::sync::Arc;

use coreloop_core::{Ids as _, id::SystemIds};
use redis::aio::ConnectionManagerConfig;
use rustix::process::Signal;

use super::*;

#[path = "../../../../tests/private_redis.rs"]
mod private_redis;

use private_redis::Redis;

const LOGIN: &str = "/coreloop.auth.v1.AuthService/Login";
const CHANGE_PASSWORD: &str = "/coreloop.auth.v1.AuthService/ChangePassword";
const GET_ME: &str = "/coreloop.auth.v1.AuthService/GetMe";
const MINT: &str = "/coreloop.auth.v1.AuthInternalService/MintInternalToken";

async fn manager(redis: &Redis) -> ConnectionManager {
    let config = ConnectionManagerConfig::new()
        .set_max_delay(Duration::from_millis(50))
        .set_response_timeout(Some(Duration::from_secs(10)));
    redis.client().get_connection_manager_with_config(config).await.unwrap()
}

/// Makes every admitted call of a key older by `by`.
async fn age(redis: &Redis, key: &str, by: Duration) {
    let mut connection = redis.connect().await;
    let calls: Vec<(String, f64)> =
        redis::cmd("ZRANGE").arg(key).arg(0).arg(-1).arg("WITHSCORES").query_async(&mut connection).await.unwrap();
    assert!(!calls.is_empty(), "{key} holds nothing");
    for (member, at) in calls {
        let at = format!("{:.0}", at - by.as_micros() as f64);
        redis::cmd("ZADD").arg(key).arg(at).arg(member).query_async::<()>(&mut connection).await.unwrap();
    }
}

/// Enough time for a busy machine; what a slow Redis does is tested apart.
fn options() -> Options {
    Options { redis_timeout_ms: 10_000, ..Options::default() }
}

fn user() -> Subject {
    Subject { user: Some(UserId(SystemIds.uuid())), address: Some("198.51.100.7".parse().unwrap()), machine: false }
}

fn address(text: &str) -> Subject {
    Subject { user: None, address: Some(text.parse().unwrap()), machine: false }
}

#[tokio::test]
async fn parallel_calls_through_replicas_get_exactly_the_limit() {
    let redis = Redis::start().await;
    let replicas = [
        Arc::new(Limiter::new(&options(), Some(manager(&redis).await), 1)),
        Arc::new(Limiter::new(&options(), Some(manager(&redis).await), 1 << 40)),
    ];
    let subject = user();
    let calls = (0..100).map(|n| {
        let limiter = Arc::clone(replicas.get(n % 2).unwrap());
        tokio::spawn(async move { limiter.check(CHANGE_PASSWORD, &subject).await })
    });
    let outcomes = futures_join(calls).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 10);
    let mut left: Vec<u32> = outcomes.iter().flatten().flatten().map(|headers| headers.remaining).collect();
    left.sort_unstable();
    assert_eq!(left, (0..10).collect::<Vec<_>>());
    let limited = outcomes.into_iter().find_map(Result::err).unwrap();
    assert_eq!(limited.headers.limit, 10);
    assert!((55..=60).contains(&limited.retry_after.as_secs()), "{limited:?}");
    // Another user has a window of their own.
    assert!(replicas.first().unwrap().check(CHANGE_PASSWORD, &user()).await.is_ok());
}

async fn futures_join<T>(tasks: impl Iterator<Item = tokio::task::JoinHandle<T>>) -> Vec<T> {
    let tasks: Vec<_> = tasks.collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

#[tokio::test]
async fn the_window_slides() {
    let redis = Redis::start().await;
    let limiter = Limiter::new(&options(), Some(manager(&redis).await), 1);
    let subject = user();
    let key = format!("rl:auth.v1.AuthService.ChangePassword:user:{}", subject.user.unwrap());
    for _ in 0..5 {
        limiter.check(CHANGE_PASSWORD, &subject).await.unwrap();
    }
    age(&redis, &key, Duration::from_secs(30)).await;
    for _ in 0..5 {
        limiter.check(CHANGE_PASSWORD, &subject).await.unwrap();
    }
    let limited = limiter.check(CHANGE_PASSWORD, &subject).await.unwrap_err();
    assert!((25..=30).contains(&limited.retry_after.as_secs()), "{limited:?}");
    // A refused call is not counted: when the first five leave, five fit again and no more.
    age(&redis, &key, Duration::from_secs(31)).await;
    for _ in 0..5 {
        limiter.check(CHANGE_PASSWORD, &subject).await.unwrap();
    }
    assert!(limiter.check(CHANGE_PASSWORD, &subject).await.is_err());
}

#[tokio::test]
async fn every_window_must_have_room() {
    let redis = Redis::start().await;
    let limiter = Limiter::new(&options(), Some(manager(&redis).await), 1);
    let subject = address("203.0.113.5");
    let key = "rl:auth.v1.AuthService.Login:ip:203.0.113.5";
    // Login: 10 a minute, 100 an hour.
    for _ in 0..10 {
        for _ in 0..10 {
            limiter.check(LOGIN, &subject).await.unwrap();
        }
        assert!(limiter.check(LOGIN, &subject).await.is_err());
        age(&redis, key, Duration::from_secs(61)).await;
        age(&redis, "rl:api:ip:203.0.113.5", Duration::from_secs(61)).await;
    }
    let limited = limiter.check(LOGIN, &subject).await.unwrap_err();
    assert_eq!(limited.headers.limit, 100);
    assert!(limited.retry_after > Duration::from_secs(2_900), "{limited:?}");
}

#[tokio::test]
async fn an_anonymous_address_has_a_budget_over_the_whole_api() {
    let redis = Redis::start().await;
    let limiter = Limiter::new(&Options { anonymous_per_minute: 20, ..options() }, Some(manager(&redis).await), 1);
    let subject = address("2001:db8::1");
    for n in 0..20 {
        let path = if n % 2 == 0 { GET_ME } else { "/coreloop.auth.v1.AuthService/GetJwks" };
        limiter.check(path, &subject).await.unwrap();
    }
    // The /64 is one client; a neighbour, a user, a machine and the mesh are not it.
    assert!(limiter.check(GET_ME, &address("2001:db8::ffff:1")).await.is_err());
    assert!(limiter.check(GET_ME, &address("2001:db8:0:1::1")).await.is_ok());
    assert_eq!(limiter.check(GET_ME, &Subject { user: Some(UserId(SystemIds.uuid())), ..subject }).await, Ok(None));
    assert_eq!(limiter.check(GET_ME, &Subject { machine: true, ..subject }).await, Ok(None));
    assert_eq!(limiter.check(MINT, &subject).await, Ok(None));
    assert_eq!(limiter.check("/grpc.health.v1.Health/Check", &subject).await, Ok(None));
}

#[tokio::test]
async fn what_no_rpc_answers_for_draws_on_the_same_budget() {
    let redis = Redis::start().await;
    let limiter = Limiter::new(&Options { anonymous_per_minute: 20, ..options() }, Some(manager(&redis).await), 1);
    let eve = address("203.0.113.5");
    for _ in 0..10 {
        limiter.check(GET_ME, &eve).await.unwrap();
        limiter.check_address(eve.address.unwrap()).await.unwrap();
    }
    assert_eq!(limiter.check_address(eve.address.unwrap()).await.unwrap_err().headers.limit, 20);
    assert!(limiter.check(GET_ME, &eve).await.is_err());
    assert!(limiter.check_address("203.0.113.6".parse().unwrap()).await.is_ok());
}

#[tokio::test]
async fn local_limits_hold_when_redis_is_away() {
    let mut redis = Redis::start().await;
    let limiter = Limiter::new(&Options::default(), Some(manager(&redis).await), 1);
    redis.stop();
    let begun = Instant::now();
    let subject = user();
    let mut admitted = 0;
    for _ in 0..100 {
        admitted += usize::from(limiter.check(CHANGE_PASSWORD, &subject).await.is_ok());
    }
    assert!((10..=12).contains(&admitted), "{admitted}");
    assert!(limiter.approximated.get() >= 100);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let limited = limiter.check(CHANGE_PASSWORD, &subject).await.unwrap_err();
    let problem = Problem::from(limited);
    assert_eq!(problem.reason(), "RATE_LIMITED");
    assert!(problem.retry_delay().unwrap() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_frozen_redis_does_not_hold_calls_up() {
    let redis = Redis::start().await;
    let limiter = Limiter::new(&Options::default(), Some(manager(&redis).await), 1);
    redis.signal(Signal::STOP);
    let begun = Instant::now();
    for _ in 0..50 {
        let _ = limiter.check(CHANGE_PASSWORD, &user()).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    redis.signal(Signal::CONT);
}

#[tokio::test]
async fn switched_off_means_off() {
    let limiter = Limiter::new(&Options { enabled: false, ..Options::default() }, None, 1);
    for _ in 0..1_000 {
        assert_eq!(limiter.check(LOGIN, &address("203.0.113.5")).await, Ok(None));
    }
}
