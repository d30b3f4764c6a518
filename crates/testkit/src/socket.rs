//! Somebody's WebSocket, as tokio-tungstenite speaks it.

use std::{net::IpAddr, time::Duration};

use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderName, HeaderValue, Request};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

use crate::{
    Persona, Rest, Visitor,
    wait::{PATIENCE, within},
};

/// The messages of a user.
pub const SYNC_PATH: &str = "/api/realtime/sync";

/// An open socket.
#[derive(Debug)]
pub struct Socket {
    inner: WebSocketStream<TcpStream>,
    /// What was heard, for the message of a failed test.
    heard: Vec<String>,
}

/// What a socket hears next.
#[derive(Debug, Clone, PartialEq)]
pub enum SocketHeard {
    /// A text, as JSON.
    Message(Value),
    /// It was closed.
    Closed {
        /// With this code; 1005 for none.
        code: u16,
        /// And this reason.
        reason: String,
    },
    /// The connection broke without a goodbye.
    Broken(String),
}

/// A handshake that was answered otherwise.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Body, where it is JSON.
    pub body: Value,
}

impl Refusal {
    /// Reason of the ErrorInfo; empty when there is none.
    #[must_use]
    pub fn reason(&self) -> &str {
        let mut details = self.body["details"].as_array().into_iter().flatten();
        details.find_map(|detail| detail["reason"].as_str()).unwrap_or_default()
    }
}

impl Socket {
    /// Asks for a socket at `path` of `base` (`http://host:port`) from `source`, with these headers beside the handshake's.
    ///
    /// # Errors
    /// When the answer is not `101`.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn ask(source: IpAddr, base: &str, path: &str, headers: &[(&str, &str)]) -> Result<Self, Refusal> {
        let (authority, request) = handshake(base, path, headers);
        let stream = connect(source, authority).await;
        match within("the answer to a handshake", PATIENCE, client_async(request, stream)).await {
            Ok((inner, _)) => Ok(Self { inner, heard: Vec::new() }),
            Err(Error::Http(_)) => Err(refusal(source, base, path, headers).await),
            Err(error) => panic!("no answer to the handshake: {error}"),
        }
    }

    /// Asks as [`Socket::ask`] does, from any address, of a peer that may be away.
    ///
    /// # Errors
    /// When the answer is not `101`, or does not come within `deadline`.
    ///
    /// # Panics
    /// When `base` is no address, or a header none.
    pub async fn try_ask(base: &str, path: &str, headers: &[(&str, &str)], deadline: Duration) -> anyhow::Result<Self> {
        let (authority, request) = handshake(base, path, headers);
        let asking = async {
            let stream = TcpStream::connect(authority).await?;
            let (inner, _) = client_async(request, stream).await?;
            anyhow::Ok(Self { inner, heard: Vec::new() })
        };
        tokio::time::timeout(deadline, asking).await?
    }

    /// What is heard next, pings left out; none when nothing is within `deadline`.
    pub async fn try_next(&mut self, deadline: Duration) -> Option<SocketHeard> {
        tokio::time::timeout(deadline, self.hear()).await.ok()
    }

    /// Sends a text.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn say(&mut self, text: &str) {
        self.inner.send(Message::text(text)).await.expect("the socket is open");
    }

    /// Sends bytes as they are, below the protocol.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn say_raw(&mut self, bytes: &[u8]) {
        self.inner.get_mut().write_all(bytes).await.expect("the connection is open");
    }

    /// What is heard next, pings left out.
    ///
    /// # Panics
    /// When nothing is, within `deadline`.
    pub async fn next(&mut self, deadline: Duration) -> SocketHeard {
        let heard = tokio::time::timeout(deadline, self.hear()).await;
        let heard = heard.unwrap_or_else(|_| panic!("nothing within {deadline:?} after {:#?}", self.heard));
        self.heard.push(format!("{heard:?}"));
        heard
    }

    /// The next message.
    ///
    /// # Panics
    /// When the socket ends instead, or nothing is heard.
    pub async fn message(&mut self) -> Value {
        match self.next(PATIENCE).await {
            SocketHeard::Message(message) => message,
            other => panic!("no message but {other:?} after {:#?}", self.heard),
        }
    }

    /// The next message of this type, whatever comes before.
    ///
    /// # Panics
    /// As [`Socket::message`].
    pub async fn of_type(&mut self, name: &str) -> Value {
        loop {
            let message = self.message().await;
            if message["type"] == name {
                return message;
            }
        }
    }

    /// The payload of the next pong, whatever comes before.
    ///
    /// # Panics
    /// When none comes within `deadline`, or the socket ends.
    pub async fn pong(&mut self, deadline: Duration) -> Vec<u8> {
        within("a pong", deadline, async {
            loop {
                match self.inner.next().await {
                    Some(Ok(Message::Pong(payload))) => return payload.to_vec(),
                    Some(Ok(Message::Text(_) | Message::Ping(_))) => {}
                    other => panic!("no pong but {other:?}"),
                }
            }
        })
        .await
    }

    /// How it ends, whatever comes before.
    ///
    /// # Panics
    /// When it does not within `deadline`.
    pub async fn end(&mut self, deadline: Duration) -> (u16, String) {
        within("the end of the socket", deadline, async {
            loop {
                match self.hear().await {
                    SocketHeard::Message(_) => {}
                    SocketHeard::Closed { code, reason } => return (code, reason),
                    SocketHeard::Broken(why) => panic!("the socket broke without a goodbye: {why}"),
                }
            }
        })
        .await
    }

    /// Breaks the connection without a word.
    pub fn cut(self) {
        drop(self);
    }

    async fn hear(&mut self) -> SocketHeard {
        loop {
            return match self.inner.next().await {
                Some(Ok(Message::Text(text))) => {
                    SocketHeard::Message(serde_json::from_str(&text).expect("a text is JSON"))
                }
                Some(Ok(Message::Close(close))) => {
                    close.map_or(SocketHeard::Closed { code: 1005, reason: String::new() }, |close| {
                        SocketHeard::Closed { code: close.code.into(), reason: close.reason.to_string() }
                    })
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(other)) => SocketHeard::Broken(format!("{other:?}")),
                Some(Err(error)) => SocketHeard::Broken(error.to_string()),
                None => SocketHeard::Broken("the end without a goodbye".to_owned()),
            };
        }
    }
}

/// Where a handshake goes to, and what it says.
fn handshake<'a>(base: &'a str, path: &str, headers: &[(&str, &str)]) -> (&'a str, Request<()>) {
    let authority = base.strip_prefix("http://").expect("an address of a test is plain HTTP");
    let mut request: Request<()> = format!("ws://{authority}{path}").into_client_request().expect("a request");
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("a name");
        request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a value"));
    }
    (authority, request)
}

/// How such a handshake is refused: asked again by a client that reads the whole answer, as the other does not.
async fn refusal(source: IpAddr, base: &str, path: &str, headers: &[(&str, &str)]) -> Refusal {
    let handshake = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let call = Rest::from(Some(source), base).get(path);
    let all = handshake.iter().chain(headers);
    let answer = all.fold(call, |call, (name, value)| call.header(name, value)).send().await;
    let body = serde_json::from_str(&answer.text()).unwrap_or_default();
    Refusal { status: answer.status.as_u16(), body }
}

async fn connect(source: IpAddr, authority: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((source, 0).into()).expect("the address is a loopback's");
    let address = authority.parse().expect("host and port");
    within("a connection", PATIENCE, socket.connect(address)).await.expect("the peer accepts")
}

impl Visitor {
    /// Asks for a socket without a token.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn ask_for_socket(&self, path: &str) -> Result<Socket, Refusal> {
        Socket::ask(self.source, self.rest().base(), path, &[]).await
    }
}

impl Persona {
    /// Asks for a socket at `path` with the person's token in a header.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn ask_for_socket(&self, path: &str) -> Result<Socket, Refusal> {
        let token = format!("Bearer {}", self.access_token);
        Socket::ask(self.visitor.source, self.visitor.rest().base(), path, &[("authorization", &token)]).await
    }

    /// The person's socket; what says how things are was heard.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn socket(&self) -> Socket {
        let mut socket = self.ask_for_socket(SYNC_PATH).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        assert_eq!(socket.message().await["type"], "sync_connected");
        assert_eq!(socket.message().await["type"], "initial_state");
        socket
    }

    /// The person's socket again, after the message `seq`; that it is open was heard and is handed back.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn socket_since(&self, seq: i64) -> (Value, Socket) {
        let path = format!("{SYNC_PATH}?since={seq}");
        let mut socket = self.ask_for_socket(&path).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let connected = socket.message().await;
        assert_eq!(connected["type"], "sync_connected");
        (connected, socket)
    }
}
