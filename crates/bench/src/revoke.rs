//! P5: from the revoke call to the refusal on another replica, beside a bare Redis publish to its receipt.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use coreloop_access::{
    Decision, Gate, HeaderView, Metrics, Revocation, RevocationWriter, Revocations, revocation::Revoked,
    token::Algorithm,
};
use coreloop_core::{Clock as _, SystemClock, id::SystemIds};
use futures::StreamExt as _;
use redis::{AsyncCommands as _, aio::ConnectionManager};
use tokio_util::sync::CancellationToken;

use crate::{report::Row, tokens::Mint};

const ROUNDS: usize = 1_000;

/// P5 over the Redis at `url`.
///
/// # Errors
/// When anything fails, or a replica accepts after the call has returned.
pub(crate) async fn revoke(url: &str) -> Result<Row> {
    let client = redis::Client::open(url)?;
    let stop = CancellationToken::new();
    let mint = Mint::new(Algorithm::EdDsa)?;
    let (first, writer) = replica(&mint, &client, "bench-1", &stop).await?;
    let (second, _) = replica(&mint, &client, "bench-2", &stop).await?;
    if let Some(run) = writer.needs_rebuild().await? {
        writer.rebuild(&run, &[]).await?;
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !(first.revocations().is_live() && second.revocations().is_live()) {
        anyhow::ensure!(Instant::now() < deadline, "the replicas do not follow");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut bare = bare(&client).await?;
    let (mut seen, mut returned) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        let claims = mint.claims();
        let token = mint.sign(&claims)?;
        anyhow::ensure!(admits(&second, &token).await, "a good token is refused");
        let revocation = Revocation { what: Revoked::Token(claims.id), expires_at: SystemClock.unix() + 900 };
        let watched = watch({
            let (second, token) = (Arc::clone(&second), token.clone());
            move |runtime| !runtime.block_on(admits(&second, &token))
        })
        .await?;
        let begun = Instant::now();
        let written = writer.revoke(&[revocation]).await?;
        returned.push(begun.elapsed());
        anyhow::ensure!(written.everywhere, "a replica did not read on");
        anyhow::ensure!(!admits(&second, &token).await, "accepted after the revoke call returned");
        let refused = watched.join().ok().context("the watching thread ended")?;
        seen.push(refused.duration_since(begun));
    }
    stop.cancel();
    let (limit, p99) = (at(&mut bare, 0.99), at(&mut seen, 0.99));
    let ratio = p99 / limit;
    Ok(Row {
        id: "P5",
        what: "revoke → refused on the other replica, p99, of bare publish → receive p99".into(),
        measured: format!("{ratio:.2}"),
        aim: "≤ 2",
        met: ratio <= 2.0,
        detail: format!(
            "{p99:.0} µs beside {limit:.0} µs (medians {:.0}, {:.0}); call returns p99 {:.0} µs; 0 of {ROUNDS} accepted after it",
            at(&mut seen, 0.5),
            at(&mut bare, 0.5),
            at(&mut returned, 0.99)
        ),
    })
}

async fn replica(
    mint: &Mint,
    client: &redis::Client,
    name: &str,
    stop: &CancellationToken,
) -> Result<(Arc<Gate>, RevocationWriter)> {
    let redis = ConnectionManager::new(client.clone()).await?;
    let metrics = Metrics::default();
    let known = Revocations::following(mint.options(), redis.clone(), name, Arc::new(SystemClock), metrics.clone());
    let writer = RevocationWriter::new(redis, known.clone(), Arc::new(SystemIds));
    let gate = mint.gate_with(known, metrics)?;
    let (runs, follow, stop) = (Arc::clone(&gate), client.clone(), stop.clone());
    tokio::spawn(async move { runs.run(Some(follow), stop).await });
    Ok((gate, writer))
}

/// Asks until `over`, on a thread of its own: a task that spins on the runtime would keep it from looking at its sockets.
/// Returns once the thread asks; it answers when it was over.
async fn watch<F>(over: F) -> Result<JoinHandle<Instant>>
where
    F: Fn(&tokio::runtime::Runtime) -> bool + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (asks, asking) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || {
        let _unwatched = asks.send(());
        while !over(&runtime) {
            std::thread::yield_now();
        }
        Instant::now()
    });
    asking.await?;
    Ok(thread)
}

async fn admits(gate: &Gate, token: &str) -> bool {
    let headers = HeaderView::Token(Some(token));
    matches!(gate.decide_http("GET", "/api/v1/auth/me", &headers).await, Decision::Allow(_))
}

/// Publish to receipt over two connections, in this process and beside a watching thread as well.
async fn bare(client: &redis::Client) -> Result<Vec<Duration>> {
    let mut publisher = client.get_multiplexed_async_connection().await?;
    let mut listener = client.get_async_pubsub().await?;
    listener.subscribe("bench").await?;
    let mut messages = listener.on_message();
    let mut all = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let received = Arc::new(AtomicBool::new(false));
        let watched = watch({
            let received = Arc::clone(&received);
            move |_| received.load(Ordering::Acquire)
        })
        .await?;
        let begun = Instant::now();
        let publish = async {
            publisher.publish::<_, _, ()>("bench", "x").await?;
            anyhow::Ok(())
        };
        let receive = async {
            messages.next().await.context("the subscription ended")?;
            received.store(true, Ordering::Release);
            anyhow::Ok(())
        };
        tokio::try_join!(publish, receive)?;
        let told = watched.join().ok().context("the watching thread ended")?;
        all.push(told.duration_since(begun));
    }
    Ok(all)
}

fn at(values: &mut [Duration], quantile: f64) -> f64 {
    values.sort_unstable();
    let index = ((values.len() as f64 - 1.0) * quantile) as usize;
    values.get(index).map_or(f64::NAN, |value| value.as_secs_f64() * 1e6)
}
