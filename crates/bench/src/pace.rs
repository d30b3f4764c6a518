//! Requests that come at a steady pace, whatever became of those before: what a tail is measured by.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use bytes::Bytes;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::Instant};

use crate::load;

/// Connections that nobody uses at the moment.
type Kept = Arc<Mutex<Vec<TcpStream>>>;

/// Sends `request(i)` (a whole HTTP/1.1 request) to `address` at `rate` a second, `total` of them, over connections that are kept; answers
/// how long each took from when it was due, in milliseconds. A reply must be a 200 that has `mark` in it.
///
/// # Errors
/// When a request fails or is answered otherwise.
pub(crate) async fn http1<F>(address: &str, rate: u32, total: u32, mark: &'static [u8], request: F) -> Result<Vec<f64>>
where
    F: Fn(u32) -> Bytes,
{
    let kept: Kept = Arc::default();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut asked = Vec::with_capacity(total as usize);
    for number in 0..total {
        let due = pace.tick().await;
        asked.push(tokio::spawn(one(address.to_owned(), Arc::clone(&kept), due, mark, request(number))));
    }
    let mut took = Vec::with_capacity(asked.len());
    for one in asked {
        took.push(one.await??);
    }
    Ok(took)
}

async fn one(address: String, kept: Kept, due: Instant, mark: &'static [u8], request: Bytes) -> Result<f64> {
    let free = lock(&kept).pop();
    let mut stream = match free {
        Some(stream) => stream,
        None => TcpStream::connect(&address).await?,
    };
    stream.set_nodelay(true)?;
    stream.write_all(&request).await?;
    let reply = load::reply(&mut stream).await?;
    let took = due.elapsed().as_secs_f64() * 1e3;
    expect(&reply, mark)?;
    lock(&kept).push(stream);
    Ok(took)
}

/// The reply is a 200 that has `mark` in it.
///
/// # Errors
/// When it is not; the error has the reply.
pub(crate) fn expect(reply: &[u8], mark: &[u8]) -> Result<()> {
    let good = reply.starts_with(b"HTTP/1.1 200") && reply.windows(mark.len().max(1)).any(|part| part == mark);
    anyhow::ensure!(good, "the answer is another: {}", String::from_utf8_lossy(reply));
    Ok(())
}

fn lock(kept: &Kept) -> MutexGuard<'_, Vec<TcpStream>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
