//! Rooms, queues and doubts.

use jiff::Timestamp;
use serde_json::Map;

use super::*;
use crate::message::Said;

const USER: UserId = UserId(Uuid::nil());

fn word(seq: i64) -> Word {
    let said = Said { kind: Kind::Notification, data: Map::new(), timestamp: Timestamp::UNIX_EPOCH };
    Word::Message(Message { seq, prev: seq - 1, said: Arc::new(said) })
}

fn all(_: Kind) -> bool {
    true
}

fn hub(queue: usize) -> Arc<Hub> {
    Arc::new(Hub::new(queue, Metrics::default()))
}

async fn seq(seat: &Seat) -> i64 {
    match seat.next().await {
        Next::Message(message) => message.seq,
        other => panic!("no message but {other:?}"),
    }
}

#[tokio::test]
async fn each_socket_of_a_user_hears_and_nobody_else_does() {
    let hub = hub(8);
    let other = UserId(Uuid::from_u128(1));
    let (one, two) = (hub.open(USER, Uuid::from_u128(1), all), hub.open(USER, Uuid::from_u128(2), all));
    let stranger = hub.open(other, Uuid::from_u128(3), all);
    assert_eq!(hub.size(), (3, 2));
    hub.heard(USER, &word(1));
    assert_eq!((seq(&one).await, seq(&two).await), (1, 1));
    assert!(futures::poll!(std::pin::pin!(stranger.next())).is_pending());
    drop((one, two, stranger));
    assert_eq!((hub.size(), hub.any()), ((0, 0), false));
    assert_eq!(lock(&hub.closed).len(), 3, "Redis is to be told");
}

#[tokio::test]
async fn a_slow_socket_ends_alone() {
    let hub = hub(4);
    let (slow, fast) = (hub.open(USER, Uuid::from_u128(1), all), hub.open(USER, Uuid::from_u128(2), all));
    for at in 1..=100 {
        hub.heard(USER, &word(at));
        assert_eq!(seq(&fast).await, at);
    }
    assert_eq!(slow.next().await, Next::Full);
    assert_eq!((hub.metrics.failed.get(), hub.metrics.depth.get()), (5, 0), "and nothing of it is kept");
}

#[tokio::test]
async fn a_socket_waits_for_its_channel_and_doubts_after_each_rejoining() {
    let hub = hub(4);
    let seat = hub.open(USER, Uuid::from_u128(1), all);
    assert!(futures::poll!(std::pin::pin!(seat.joined())).is_pending());
    assert_eq!((hub.to_join(10), hub.to_join(10)), (vec![USER], vec![]), "told once");
    hub.joined(&[USER]);
    seat.joined().await;
    assert!(futures::poll!(std::pin::pin!(seat.next())).is_pending(), "it is about to read the log anyway");
    hub.lost();
    assert_eq!(hub.to_join(10), [USER]);
    hub.joined(&[USER]);
    assert_eq!(seat.next().await, Next::Doubt);
    let second = hub.open(USER, Uuid::from_u128(2), all);
    second.joined().await;
    hub.heard(USER, &Word::Broken);
    assert_eq!((seat.next().await, second.next().await), (Next::Doubt, Next::Doubt));
}

#[tokio::test]
async fn a_channel_is_left_when_nobody_is_there_and_joined_again_by_who_comes_back() {
    let hub = hub(4);
    let seat = hub.open(USER, Uuid::from_u128(1), all);
    hub.joined(&hub.to_join(10));
    drop(seat);
    assert_eq!((hub.to_join(10), hub.to_leave(10)), (vec![], vec![USER]));
    drop(hub.open(USER, Uuid::from_u128(2), all));
    let back = hub.open(USER, Uuid::from_u128(3), all);
    assert_eq!((hub.to_leave(10), hub.to_join(10)), (vec![], vec![USER]), "not left under who is back");
    assert!(futures::poll!(std::pin::pin!(back.joined())).is_pending());
}

#[tokio::test]
async fn what_comes_to_who_doubts_does_not_wait_and_is_no_reason_to_end() {
    let hub = hub(4);
    let seat = hub.open(USER, Uuid::from_u128(1), all);
    seat.doubt();
    (1..=100).for_each(|at| hub.heard(USER, &word(at)));
    assert_eq!((seat.next().await, hub.metrics.depth.get()), (Next::Doubt, 0));
    seat.forget();
    hub.heard(USER, &word(101));
    assert_eq!(seq(&seat).await, 101, "from the reading on it is heard again");
}

#[tokio::test]
async fn only_some_catch_up_at_once() {
    let hub = hub(4);
    let mut turns = Vec::new();
    for _ in 0..CATCHING_UP {
        turns.push(hub.turn().await.unwrap());
    }
    assert!(futures::poll!(std::pin::pin!(hub.turn())).is_pending());
    drop(turns.pop());
    assert!(hub.turn().await.is_some());
}
