//! Shops around somebody: from the cache at a steady pace, beside a handler that has the same bytes at hand; and how often the provider is
//! asked when a thousand miss the same cell at once.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use axum::Router;
use bytes::Bytes;
use coreloop_testkit::{Rest, TestMesh};
use futures::future::{join_all, try_join_all};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    child::Part,
    load, pace,
    report::{Row, median, quantile, spread},
};

/// Requests a second, and seconds of one turn: shorter than an answer is kept (`location.cache_secs`).
const RATE: u32 = 500;
const SECONDS: u32 = 8;
/// Cells of one round, on a square.
const SIDE: u32 = 8;
/// Misses of one cell.
const MISSES: usize = 1_000;
/// The provider takes so long for these, and all are sent before it is half over.
const THINKS: Duration = Duration::from_millis(1_500);
/// What an answer of the provider has in it, and not that of the shops which are kept for when it is away.
const MARK: &[u8] = b"\"KAKAO\"";

/// Where a started mesh is, as its process prints it in one line.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Where {
    gateway: String,
    sandbox: String,
}

/// Starts a mesh with locations and the sandbox's provider, limits off, and tells where it is. It lives as long as what is returned.
///
/// # Errors
/// When it has no sandbox.
pub(crate) async fn start() -> Result<(TestMesh, String)> {
    let mesh = TestMesh::builder().modules(&["location"]).stand_ins().setting("limit.enabled", false);
    // A thousand wait for one search.
    let mesh = mesh.setting("server.max_in_flight", 4_096_i64).start().await;
    let at = Where {
        gateway: mesh.gateway().trim_start_matches("http://").to_owned(),
        sandbox: mesh.stand_ins.as_ref().context("the sandbox")?.base().to_owned(),
    };
    let line = serde_json::to_string(&at)?;
    Ok((mesh, line))
}

/// Both rows.
///
/// # Errors
/// When a search fails, is not answered from where it should be, or the set-up is not what it says.
pub(crate) async fn rows(rounds: usize) -> Result<Vec<Row>> {
    let part = Part::start("nearby", &[])?;
    let at: Where = serde_json::from_str(&part.address)?;
    let sandbox = Rest::to(at.sandbox.clone());
    Ok(vec![cached(&at, &sandbox, rounds).await?, at_once(&at, &sandbox).await?])
}

/// p99 of what is in the cache.
async fn cached(at: &Where, sandbox: &Rest, rounds: usize) -> Result<Row> {
    let (mut ours, mut limits, mut size, mut bare) = (Vec::new(), Vec::new(), 0_usize, None);
    for round in 0..=rounds {
        let cells: Vec<Bytes> = (0..SIDE * SIDE).map(|number| cell(round, number)).collect();
        let mut stream = TcpStream::connect(&at.gateway).await?;
        for cell in &cells {
            stream.write_all(cell).await?;
            let reply = load::reply(&mut stream).await?;
            pace::expect(&reply, MARK)?;
            size = size.max(body(&reply).len());
        }
        let searched = calls(sandbox).await?;
        let ask = |number: u32| cells.get(number as usize % cells.len()).cloned().unwrap_or_default();
        let mut took = pace::http1(&at.gateway, RATE, RATE * SECONDS, MARK, ask).await?;
        let more = calls(sandbox).await? - searched;
        anyhow::ensure!(more == 0, "the provider was asked {more} times for what should be in the cache");
        let plain = match bare.take() {
            Some(plain) => plain,
            None => Part::start("bare-http", &[&size.to_string()])?,
        };
        let ask = |_| Bytes::from_static(b"GET / HTTP/1.1\r\nhost: bare\r\n\r\n");
        let mut least = pace::http1(&plain.address, RATE, RATE * SECONDS, b"x", ask).await?;
        bare = Some(plain);
        if round > 0 {
            ours.push(quantile(&mut took, 0.99));
            limits.push(quantile(&mut least, 0.99));
        }
    }
    let p99 = median(&ours);
    Ok(Row {
        id: "nearby",
        what: format!("cached nearby search through REST, p99 at {RATE}/s"),
        measured: format!("{p99:.1} ms"),
        aim: "≤ 10 ms",
        met: p99 <= 10.0,
        detail: format!(
            "{} cells, answers of up to {size} bytes, the provider not asked; beside {:.1} ms of a handler \
             that has such bytes at hand; {}",
            SIDE * SIDE,
            median(&limits),
            spread(&ours)
        ),
    })
}

/// Searches at the provider for many misses at once, in searches of one miss.
async fn at_once(at: &Where, sandbox: &Rest) -> Result<Row> {
    let elsewhere = usize::MAX;
    let before = calls(sandbox).await?;
    let mut stream = TcpStream::connect(&at.gateway).await?;
    stream.write_all(&cell(elsewhere, 0)).await?;
    pace::expect(&load::reply(&mut stream).await?, MARK)?;
    let single = calls(sandbox).await? - before;
    anyhow::ensure!(single > 0, "a miss does not ask the provider");
    let slow = json!({"provider": "kakao_local", "kind": "latency", "ms": THINKS.as_millis() as u64});
    let switched = sandbox.post("/_sandbox/faults", &slow).try_send().await?;
    anyhow::ensure!(switched.status == 201, "the provider is not slow: {}", switched.text());
    let mut streams = Vec::with_capacity(MISSES);
    for _ in 0..MISSES {
        let stream = TcpStream::connect(&at.gateway).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let (before, request, begun) = (calls(sandbox).await?, cell(elsewhere, 1), Instant::now());
    let sent: Vec<_> = join_all(streams.iter_mut().map(|stream| stream.write_all(&request))).await;
    sent.into_iter().collect::<std::io::Result<()>>()?;
    let sent = begun.elapsed();
    anyhow::ensure!(sent < THINKS / 2, "it took {sent:?} to send them: those that came last may have hit");
    let replies = try_join_all(streams.iter_mut().map(load::reply)).await?;
    let took = begun.elapsed();
    let calls = calls(sandbox).await? - before;
    sandbox.delete("/_sandbox/faults").try_send().await?;
    for reply in &replies {
        pace::expect(reply, MARK)?;
    }
    let searches = calls as f64 / single as f64;
    Ok(Row {
        id: "nearby",
        what: format!("searches at the provider for {MISSES} misses of one cell at once"),
        measured: format!("{searches}"),
        aim: "1",
        met: calls == single,
        detail: format!(
            "{calls} requests at the sandbox's Kakao Local, one miss makes {single}; all were sent within {:.0} ms \
             and answered within {:.0} ms, the provider taking {:.0} ms",
            sent.as_secs_f64() * 1e3,
            took.as_secs_f64() * 1e3,
            THINKS.as_secs_f64() * 1e3
        ),
    })
}

/// Asks for the shops around a place of its own: each is in another cell of the grid of 50 m, and each round has others.
fn cell(round: usize, number: u32) -> Bytes {
    let (row, column) = (number / SIDE, number % SIDE);
    let south = match round {
        usize::MAX => 37.54,
        round => 37.5665 + 0.000_6 * f64::from(SIDE) * round as f64,
    };
    let (lat, lng) = (south + 0.000_6 * f64::from(row), 126.978 + 0.000_8 * f64::from(column));
    format!(
        "GET /api/v1/location/shops?lat={lat:.5}&lng={lng:.5}&radius=2000 HTTP/1.1\r\nhost: api.example.com\r\n\r\n"
    )
    .into()
}

fn body(reply: &[u8]) -> &[u8] {
    let head = reply.windows(4).position(|four| four == b"\r\n\r\n");
    head.and_then(|head| reply.get(head + 4..)).unwrap_or_default()
}

/// How often the provider was asked for anything.
async fn calls(sandbox: &Rest) -> Result<u64> {
    let stats = sandbox.get("/_sandbox/stats").try_send().await?;
    let stats: Value = serde_json::from_slice(&stats.body)?;
    let endpoints = stats.get("endpoints").and_then(Value::as_object).context("the sandbox's counters")?;
    let of = |count: &Value| count.get("requests").and_then(Value::as_u64).unwrap_or_default();
    Ok(endpoints.iter().filter(|(name, _)| name.starts_with("kakao_local/")).map(|(_, count)| of(count)).sum())
}

/// Serves so many bytes, whatever is asked.
///
/// # Errors
/// When no port can be had.
pub(crate) async fn bare(bytes: &str) -> Result<SocketAddr> {
    let body = Bytes::from("x".repeat(bytes.parse()?));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = Router::new().fallback(move || std::future::ready(body.clone()));
    let listener = axum::serve::ListenerExt::tap_io(listener, |io| {
        let _ = io.set_nodelay(true);
    });
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the handler ended");
        }
    });
    Ok(address)
}
