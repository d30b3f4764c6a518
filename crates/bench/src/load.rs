//! Closed-loop load with as little client as possible: requests are encoded before, replies are not decoded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Result;
use bytes::{Buf as _, BufMut as _, Bytes};
use tonic::{
    Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

/// What a run saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Calls answered.
    pub(crate) calls: u64,
    /// Calls that failed.
    pub(crate) errors: u64,
    /// Latencies in microseconds, sorted.
    pub(crate) micros: Vec<u32>,
}

impl Seen {
    /// Latency at `quantile` in microseconds.
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        let index = ((self.micros.len() as f64 - 1.0) * quantile).max(0.0) as usize;
        self.micros.get(index).copied().map_or(f64::NAN, f64::from)
    }

    fn join(parts: Vec<Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.calls += part.calls;
            all.errors += part.errors;
            all.micros.extend(part.micros);
        }
        all.micros.sort_unstable();
        all
    }
}

/// Passes encoded messages through untouched.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}

/// Connections to one address: one serialises on a lock at high load.
///
/// # Errors
/// When nothing answers there.
pub(crate) async fn connect(address: &str, connections: usize) -> Result<Vec<Channel>> {
    let mut channels = Vec::with_capacity(connections);
    for _ in 0..connections {
        channels.push(Endpoint::from_shared(address.to_owned())?.tcp_nodelay(true).connect().await?);
    }
    Ok(channels)
}

/// `total` calls of `path`, `in_flight` at a time; call `i` sends `request(i)` with `authorization` when given.
pub(crate) async fn grpc<F>(
    channels: &[Channel],
    path: &'static str,
    in_flight: usize,
    total: u64,
    authorization: Option<&str>,
    request: F,
) -> Seen
where
    F: Fn(u64) -> Bytes + Send + Sync + 'static,
{
    let next = Arc::new(AtomicU64::new(0));
    let request = Arc::new(request);
    let mut tasks = Vec::with_capacity(in_flight);
    for slot in 0..in_flight {
        let Some(channel) = channels.get(slot % channels.len()).cloned() else { continue };
        let (next, request) = (Arc::clone(&next), Arc::clone(&request));
        let authorization: Option<tonic::metadata::AsciiMetadataValue> =
            authorization.and_then(|token| format!("Bearer {token}").parse().ok());
        tasks.push(tokio::spawn(async move {
            let mut client = Grpc::new(channel);
            let mut seen = Seen::default();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= total {
                    return seen;
                }
                let mut message = tonic::Request::new(request(index));
                if let Some(value) = &authorization {
                    message.metadata_mut().insert("authorization", value.clone());
                }
                let begun = Instant::now();
                let answered = match client.ready().await {
                    Ok(()) => client.unary(message, http::uri::PathAndQuery::from_static(path), Raw).await.is_ok(),
                    Err(_) => false,
                };
                seen.micros.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
                seen.calls += 1;
                seen.errors += u64::from(!answered);
            }
        }));
    }
    let mut parts = Vec::with_capacity(tasks.len());
    for task in tasks {
        parts.push(task.await.unwrap_or_default());
    }
    Seen::join(parts)
}

/// `total` HTTP/1.1 requests over kept-alive connections, one in flight on each of `connections`. `request` is the
/// whole request as bytes; a reply must be 2xx with a content length.
///
/// # Errors
/// When a connection cannot be opened.
pub(crate) async fn http1(address: &str, connections: usize, total: u64, request: Bytes) -> Result<Seen> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::with_capacity(connections);
    for _ in 0..connections {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (next, request) = (Arc::clone(&next), request.clone());
        tasks.push(tokio::spawn(http1_loop(stream, next, total, request)));
    }
    let mut parts = Vec::with_capacity(tasks.len());
    for task in tasks {
        parts.push(task.await.unwrap_or_default());
    }
    Ok(Seen::join(parts))
}

/// The whole reply that comes next on a connection.
///
/// # Errors
/// When it ends before.
pub(crate) async fn reply(stream: &mut tokio::net::TcpStream) -> Result<Vec<u8>> {
    use tokio::io::AsyncReadExt as _;
    let mut reply = Vec::with_capacity(16 * 1024);
    while !whole(&reply) {
        anyhow::ensure!(stream.read_buf(&mut reply).await? > 0, "the connection ended before the reply did");
    }
    Ok(reply)
}

async fn http1_loop(mut stream: tokio::net::TcpStream, next: Arc<AtomicU64>, total: u64, request: Bytes) -> Seen {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut seen = Seen::default();
    let mut buffer = Vec::with_capacity(16 * 1024);
    while next.fetch_add(1, Ordering::Relaxed) < total {
        let begun = Instant::now();
        buffer.clear();
        let mut answered = stream.write_all(&request).await.is_ok();
        while answered && !whole(&buffer) {
            answered = matches!(stream.read_buf(&mut buffer).await, Ok(read) if read > 0);
        }
        answered &= buffer.get(9) == Some(&b'2');
        seen.micros.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
        seen.calls += 1;
        seen.errors += u64::from(!answered);
    }
    seen
}

/// The reply is all there: headers, and as many bytes as they promise (or the last chunk).
fn whole(reply: &[u8]) -> bool {
    let Some(end) = reply.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = reply.get(..end).map(String::from_utf8_lossy).unwrap_or_default().to_ascii_lowercase();
    let body = reply.len() - end - 4;
    match head.lines().find_map(|line| line.strip_prefix("content-length:")) {
        Some(length) => length.trim().parse().is_ok_and(|length: usize| body >= length),
        None => reply.ends_with(b"0\r\n\r\n"),
    }
}
