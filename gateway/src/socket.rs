//! WebSockets (RFC 6455) in front of streams: a route whose RPC says `edge.socket` answers an upgrade with a socket, and
//! anything else as it always did. Where the client of the RPC streams, too, its texts are the messages of the request.
//!
//! A request that asks for a socket comes the way of every other: limits, matcher, JSON rules of its query. What differs is
//! the end. **With a token in a header the stream is opened first**, and what refuses it is an HTTP answer that anybody can
//! read; only then is the upgrade agreed to. Where the RPC says `access.late_token`, a client without a token gets its socket
//! and says who it is with its first message ([`first`]); then the stream is opened, and what refuses it is a close code ([`close`]).
//! Either way **it is the service that judges the token, and that ends the stream when it counts no more**.
//!
//! The codec is our own ([`frame`], [`incoming`], [`outgoing`]): a library's default keeps buffers of a hundred kilobytes for a
//! connection that says nothing all day, and copies each message for each socket. tokio-tungstenite is what the tests speak.

mod close;
mod first;
mod frame;
mod handshake;
mod incoming;
mod outgoing;
mod session;
mod sockets;
mod texts;
mod upstream;
mod wire;

use std::sync::Arc;

use coreloop_service::Call;
use http::{HeaderMap, HeaderValue, Response, header, request::Parts};
use tonic::body::Body;

pub(crate) use self::{handshake::asked, sockets::Sockets, texts::Texts};
use self::{
    handshake::{Handshake, hint, required},
    session::{Begun, Session},
    upstream::Opening,
};
use crate::{
    edge::{Shared, lang},
    fail::Failure,
    outbound,
    rest::Ready,
};

/// Answers a request that asks for a socket.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    ready: Ready<'_>,
    parts: &Parts,
    host: Option<&HeaderValue>,
) -> Response<Body> {
    let lang = lang(&parts.headers);
    let mut response = match Handshake::read(parts, &shared.cors, host) {
        Ok(handshake) => {
            let agreed = agree(shared, ready, parts, handshake).await;
            agreed.unwrap_or_else(|failure| failure.reply(&shared.encoder, lang))
        }
        Err(failure) => shared.refused(failure, lang).await,
    };
    hint(&mut response);
    response
}

/// Agrees to a handshake, and starts its socket.
///
/// # Errors
/// What finds no room, or is refused by the service: nothing was upgraded.
async fn agree(
    shared: &Arc<Shared>,
    ready: Ready<'_>,
    parts: &Parts,
    handshake: Handshake,
) -> Result<Response<Body>, Failure> {
    let seat = shared.sockets.seat(shared.families.open_sockets(&ready.row.name.0))?;
    let route = ready.route;
    let late = route.access.as_ref().is_some_and(|access| access.late_token) && !known(&parts.headers);
    let Ready { row, metadata, message, .. } = ready;
    let both_ways = route.method.is_client_streaming();
    let opening = Box::new(Opening { link: row.link.clone(), path: row.path.clone(), metadata, message, both_ways });
    let (told, begun) = match late {
        true => {
            // Nobody knows yet who this is: it costs what an anonymous call costs.
            shared.counted().await?;
            (HeaderMap::new(), Begun::Late(opening))
        }
        false => {
            let (told, line) = opening.open(shared).await?;
            (told, Begun::Open(Box::new(line)))
        }
    };
    let (mut response, upgrade) = handshake.agree();
    outbound::headers(&told, response.headers_mut());
    let session = Session { shared: Arc::clone(shared), route, call: Call::current(), seat };
    shared.sockets.start(Box::pin(session.run(upgrade, begun)))?;
    Ok(response)
}

/// Answers a request for a stream in both directions that asks for no socket. Who may not have one is told so, by the service; anybody else,
/// that a socket is needed.
pub(crate) async fn needed(shared: &Arc<Shared>, ready: Ready<'_>) -> Response<Body> {
    let lang = lang(ready.headers);
    let Ready { row, metadata, message, .. } = ready;
    let opening = Opening { link: row.link.clone(), path: row.path.clone(), metadata, message, both_ways: true };
    let mut response = match opening.admitted(shared).await {
        Ok(()) => shared.refused(required("a WebSocket is needed here"), lang).await,
        Err(failure) => failure.reply(&shared.encoder, lang),
    };
    hint(&mut response);
    response
}

/// Hears what a client sends, in pieces of `piece` bytes: how many messages it says, or the code with which it is closed. Without a
/// connection: for who tries many inputs.
///
/// # Errors
/// The close code of what is not the protocol, or more than `limit` bytes.
pub fn heard(bytes: &[u8], piece: usize, limit: usize) -> Result<usize, u16> {
    let (mut incoming, mut messages) = (incoming::Incoming::new(limit), 0);
    for piece in bytes.chunks(piece.max(1)) {
        incoming.push(piece);
        while incoming.next().map_err(|fault| fault.close().code())?.is_some() {
            messages += 1;
        }
    }
    Ok(messages)
}

/// A token was sent, whatever it is worth.
fn known(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION)
}
