//! The loop that tells Redis which sockets are open, so that a user has no more of them over all replicas than they may. What a
//! killed replica had open stops counting by itself; one that stops gives back what it has.

use std::{sync::Arc, time::Duration};

use coreloop_core::UserId;
use coreloop_service::Worker;
use futures::StreamExt as _;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Hub, lock};
use crate::log::Log;

/// How long a socket counts after it was last told of.
pub const COUNTS: Duration = Duration::from_secs(45);
/// Between two rounds.
const ROUND: Duration = Duration::from_secs(15);
/// Time to give back what is open when the process stops.
const PARTING: Duration = Duration::from_secs(2);
/// Questions to Redis that are out at once.
const AT_ONCE: usize = 32;

/// The loop.
#[must_use]
pub fn worker(hub: &Arc<Hub>, log: &Log) -> Worker {
    let (hub, log) = (Arc::clone(hub), log.clone());
    Worker::new("realtime.seats", move |stop| {
        let (hub, log) = (Arc::clone(&hub), log.clone());
        async move { keep(&hub, &log, &stop).await }
    })
}

async fn keep(hub: &Hub, log: &Log, stop: &CancellationToken) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = hub.closing.notified() => {}
            _ = rounds.tick() => renew(hub, log).await,
        }
        close(hub, log).await;
    }
    // Whoever is sent elsewhere finds room there. What is open yet ends with the process.
    let left = open(hub);
    lock(&hub.closed).extend(left);
    if tokio::time::timeout(PARTING, close(hub, log)).await.is_err() {
        tracing::debug!("not all sockets could be given back");
    }
}

fn open(hub: &Hub) -> Vec<(UserId, Uuid)> {
    let rooms = lock(&hub.rooms);
    rooms.of.iter().flat_map(|(user, room)| room.sockets.iter().map(|socket| (*user, socket.id))).collect()
}

async fn renew(hub: &Hub, log: &Log) {
    futures::stream::iter(open(hub))
        .for_each_concurrent(AT_ONCE, |(user, socket)| async move {
            if let Err(error) = log.open(user, socket, COUNTS).await {
                tracing::debug!(%error, "an open socket could not be told of");
            }
        })
        .await;
}

async fn close(hub: &Hub, log: &Log) {
    let closed = std::mem::take(&mut *lock(&hub.closed));
    futures::stream::iter(closed)
        .for_each_concurrent(AT_ONCE, |(user, socket)| async move {
            if let Err(error) = log.close(user, socket).await {
                tracing::debug!(%error, "a closed socket could not be told of");
            }
        })
        .await;
}
