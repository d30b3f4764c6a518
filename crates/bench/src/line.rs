//! WebSockets from the client's end, with as little client as possible: what was said is handed out as it came, pings are answered.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

/// The messages of a user.
const PATH: &str = "/api/realtime/sync";
/// Opcodes (RFC 6455, 11.8).
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
/// Room for what one read may bring.
const READ: usize = 4 * 1024;

/// One end of a socket.
pub(crate) struct Line {
    stream: TcpStream,
    buffer: BytesMut,
}

/// What is heard on a line.
pub(crate) enum Heard {
    /// A text.
    Text(Bytes),
    /// The end, with a goodbye or without.
    End,
}

impl Line {
    /// Opens a socket at `gateway` from `source` as whoever has the token. The kernel keeps `room` bytes of what is not read, where it
    /// is given.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) async fn open(gateway: SocketAddr, source: Ipv4Addr, token: &str, room: Option<u32>) -> Result<Self> {
        let mut stream = connect(gateway, source, room).await?;
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nhost: {gateway}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut buffer = BytesMut::with_capacity(READ);
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            anyhow::ensure!(stream.read_buf(&mut buffer).await? > 0, "the connection ended in the handshake");
        };
        let head = buffer.split_to(end);
        anyhow::ensure!(
            head.starts_with(b"HTTP/1.1 101"),
            "no socket: {}{}",
            String::from_utf8_lossy(&head),
            String::from_utf8_lossy(&buffer)
        );
        Ok(Self { stream, buffer })
    }

    /// A connection to a peer that sends frames without a handshake.
    ///
    /// # Errors
    /// When nobody accepts.
    pub(crate) async fn bare(peer: SocketAddr, source: Ipv4Addr) -> Result<Self> {
        Ok(Self { stream: connect(peer, source, None).await?, buffer: BytesMut::with_capacity(READ) })
    }

    /// What is heard next.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) async fn next(&mut self) -> Result<Heard> {
        loop {
            match frame(&mut self.buffer) {
                Some((TEXT, payload)) => return Ok(Heard::Text(payload)),
                Some((CLOSE, _)) => return Ok(Heard::End),
                Some((PING, payload)) => self.stream.write_all(&pong(&payload)).await?,
                Some(_) => {}
                None => {
                    self.buffer.reserve(READ);
                    if self.stream.read_buf(&mut self.buffer).await? == 0 {
                        return Ok(Heard::End);
                    }
                }
            }
        }
    }
}

/// Addresses of this machine that connections come from, each in its turn: one has not ports enough for all.
pub(crate) fn source(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, 1 + (number % 16) as u8)
}

/// A text as a server writes it.
pub(crate) fn text(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | TEXT];
    match payload.len() {
        short @ 0..=125 => frame.push(short as u8),
        middle @ 126..=0xffff => {
            frame.push(126);
            frame.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

async fn connect(peer: SocketAddr, source: Ipv4Addr, room: Option<u32>) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(room) = room {
        socket.set_recv_buffer_size(room)?;
    }
    socket.bind((source, 0).into())?;
    let stream = socket.connect(peer).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Takes a whole frame of a server, which masks nothing and splits nothing.
fn frame(buffer: &mut BytesMut) -> Option<(u8, Bytes)> {
    let (first, second) = (*buffer.first()?, *buffer.get(1)?);
    let (head, length) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    if buffer.len() < head + length {
        return None;
    }
    buffer.advance(head);
    Some((first & 0x0f, buffer.split_to(length).freeze()))
}

/// The answer to a ping, under a mask that changes nothing.
fn pong(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x8a, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}
