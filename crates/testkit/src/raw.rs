//! HTTP/1.1 as bytes, for requests that no client library would send.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::{persona::own_address, wait::PATIENCE};

/// What came back: the status, the head as text and the rest.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    /// Status code; 0 when the peer closed without an answer.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// What followed.
    pub body: Vec<u8>,
}

/// Sends `request` as it is to `address` (`ip:port`), from an address of its own, and reads until the peer closes or stays
/// silent for a while.
///
/// # Panics
/// When the peer does not accept a connection.
pub async fn send(address: &str, request: &[u8]) -> RawAnswer {
    let mut stream = connect(address).await.expect("the peer accepts");
    // A peer that refuses early may close while we still write: what it answered counts.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let mut piece = [0_u8; 8192];
    // Who has not said anything yet may be waiting for its turn.
    let mut silence = PATIENCE;
    while let Ok(Ok(read)) = tokio::time::timeout(silence, stream.read(&mut piece)).await {
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(&piece[..read]);
        silence = Duration::from_secs(5);
    }
    parse(&bytes)
}

async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((own_address(), 0).into())?;
    socket.connect(address.parse().map_err(std::io::Error::other)?).await
}

fn parse(bytes: &[u8]) -> RawAnswer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    RawAnswer { status, head, body: bytes[end..].to_vec() }
}
