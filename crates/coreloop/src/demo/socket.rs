//! The socket of an app: an upgrade asked for by the API's own client, so that one TLS stack does for both, and tungstenite's frames
//! on what it becomes.

use anyhow::{Context as _, bail, ensure};
use futures::StreamExt as _;
use reqwest::{Method, StatusCode, Upgraded, header};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{Role, WebSocketConfig},
    },
};

use super::api::{Api, PATIENCE, refusal};

/// Where a user's messages come.
pub(crate) const PATH: &str = "/api/realtime/sync";
/// Largest message that is read, in bytes.
const MOST: usize = 1 << 20;
/// What of an answer that refuses a socket is read, in bytes.
const REFUSAL: usize = 16 << 10;

/// An open socket.
#[derive(Debug)]
pub(crate) struct Socket {
    frames: WebSocketStream<Upgraded>,
}

impl Socket {
    /// Opens the socket of whoever is signed in; the token is in a header, never in the address.
    ///
    /// # Errors
    /// When it is refused, or nobody answers.
    pub(crate) async fn open(api: &Api) -> anyhow::Result<Self> {
        let key = generate_key();
        let call = api.request(Method::GET, PATH).header(header::CONNECTION, "Upgrade");
        let call = call.header(header::UPGRADE, "websocket").header(header::SEC_WEBSOCKET_VERSION, "13");
        let asked = timeout(PATIENCE, call.header(header::SEC_WEBSOCKET_KEY, &key).send()).await;
        let silent = || format!("opening the socket: {} does not answer", api.base());
        let mut answer = asked.with_context(silent)?.with_context(silent)?;
        let status = answer.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let mut body = Vec::new();
            while let Ok(Ok(Some(piece))) = timeout(PATIENCE, answer.chunk()).await
                && body.len() < REFUSAL
            {
                body.extend_from_slice(&piece);
            }
            bail!("opening the socket: {}{PATH} answered {}", api.base(), refusal(status, &body));
        }
        let accepted = answer.headers().get(header::SEC_WEBSOCKET_ACCEPT).and_then(|value| value.to_str().ok());
        ensure!(
            accepted == Some(derive_accept_key(key.as_bytes()).as_str()),
            "opening the socket: whoever answered is no server of WebSockets"
        );
        let stream = timeout(PATIENCE, answer.upgrade()).await.with_context(silent)?.with_context(silent)?;
        let config = WebSocketConfig::default().max_message_size(Some(MOST)).max_frame_size(Some(MOST));
        Ok(Self { frames: WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await })
    }

    /// The next message; none when there is none until then. Pings are answered on the way.
    ///
    /// # Errors
    /// When the socket ends, or something else than JSON is said.
    pub(crate) async fn next(&mut self, until: Instant) -> anyhow::Result<Option<Value>> {
        loop {
            let Ok(frame) = timeout_at(until, self.frames.next()).await else { return Ok(None) };
            match frame.context("the socket ended without a goodbye")?.context("the socket broke")? {
                Message::Text(text) => {
                    return serde_json::from_str(&text).map(Some).context("the socket said what is no JSON");
                }
                Message::Close(None) => bail!("the socket was closed without a code"),
                Message::Close(Some(goodbye)) => {
                    bail!("the socket was closed: {} {}", u16::from(goodbye.code), goodbye.reason)
                }
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Binary(_) | Message::Frame(_) => bail!("the socket said what is no text"),
            }
        }
    }
}
