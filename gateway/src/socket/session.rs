//! One socket from its upgrade to its close: the messages of a server stream as texts; and, where the client of the RPC streams, too, its
//! texts as messages.
//!
//! A text that is no message is answered `{"error": …}` and left out, and the stream goes on: it is for the service to say what is worth
//! ending it. What comes faster than the service takes it, or than anybody needs (`messages_per_sec`), ends the socket.
//!
//! The stream behind it is asked for its next message only while there is room to write it, so it is the service that feels a
//! slow client, and it knows what may be merged or left out. **Whatever ends the stream closes the socket with what it said**:
//! a token that was revoked or expired, a limit, a service that restarts. The edge decides on nobody.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use coreloop_service::{Call, upgrade::Upgrade};
use coreloop_transcode::router::Route;
use futures::FutureExt as _;
use http::HeaderValue;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use super::{
    close::Close,
    first,
    frame::Fault,
    incoming::Said,
    sockets::Seat,
    upstream::{Line, Opening, Telling, TooMany},
    wire::{Event, Wire},
};
use crate::{call::Messages, edge::Shared, fail::Failure};

/// How long a connection has to become a socket once the answer was made.
const UPGRADING: Duration = Duration::from_secs(10);
/// Texts that a client may send of itself between two pings: none means anything, but a program may have its own heartbeat.
const CHATTER: u32 = 60;

/// What a socket begins with.
pub(crate) enum Begun {
    /// The stream behind it is open.
    Open(Box<Line>),
    /// Its token comes with the first message.
    Late(Box<Opening>),
}

/// One socket.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) route: &'static Route,
    /// The handshake's: its trace and its request id are the stream's too.
    pub(crate) call: Option<Arc<Call>>,
    pub(crate) seat: Seat,
}

/// How a socket ends.
enum Leave {
    /// We close.
    Close(Close),
    /// The client closes.
    Answer(Option<u16>),
    /// Nobody is there.
    Gone,
}

impl From<Fault> for Leave {
    fn from(fault: Fault) -> Self {
        Self::Close(fault.close())
    }
}

impl Session {
    /// Runs it to its end.
    pub(crate) async fn run(self, upgrade: Upgrade, begun: Begun) {
        let upgraded = match timeout(UPGRADING, upgrade.taken()).await {
            Ok(Ok(upgraded)) => upgraded,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a handshake came to nothing");
                return;
            }
            Err(_) => {
                tracing::debug!("a handshake was not finished in time");
                return;
            }
        };
        let mut wire = Wire::new(upgraded, self.shared.options.sockets.message_limit_bytes);
        let leave = match begun {
            Begun::Open(line) => self.pump(&mut wire, *line).await,
            // Boxed: gone when the stream is open, and an idle socket has no room for it.
            Begun::Late(opening) => match Box::pin(self.open(&mut wire, opening)).await {
                Ok(line) => self.pump(&mut wire, line).await,
                Err(leave) => leave,
            },
        };
        // What is open behind it is closed by now: whoever takes a goodbye slowly holds nothing but the connection.
        let code = match &leave {
            Leave::Close(close) => close.code(),
            Leave::Answer(_) | Leave::Gone => 1005,
        };
        self.shared.families.socket_closed(code);
        tracing::debug!(route = %self.route.template, code, "a socket closes");
        Box::pin(async {
            match leave {
                Leave::Close(close) => wire.close(&close).await,
                Leave::Answer(code) => wire.answer_close(code).await,
                Leave::Gone => {}
            }
        })
        .await;
        drop(self.seat);
    }

    /// Hears the token, and opens the stream with it.
    async fn open(&self, wire: &mut Wire, mut opening: Box<Opening>) -> Result<Line, Leave> {
        let patience = Duration::from_millis(self.shared.options.sockets.first_message_ms);
        let token = timeout(patience, first_words(wire));
        let Some(token) = self.shared.stopping.run_until_cancelled(token).await else {
            return Err(Leave::Close(Close::DRAINING));
        };
        opening.authorize(token.unwrap_or(Err(Leave::Close(Close::NO_TOKEN)))?);
        let opened = async {
            match &self.call {
                Some(call) => Arc::clone(call).scope(opening.open(&self.shared)).await,
                None => opening.open(&self.shared).await,
            }
        };
        match opened.await {
            Ok((_, line)) => Ok(line),
            Err(failure) => Err(self.told(&failure.into_status())),
        }
    }

    /// Hands on message after message until something ends it.
    async fn pump(&self, wire: &mut Wire, line: Line) -> Leave {
        let Line { mut messages, said } = line;
        let options = &self.shared.options.sockets;
        let (every, idle) = (Duration::from_secs(options.ping_secs), Duration::from_secs(options.idle_secs));
        let most = match &said {
            Some(_) => options.messages_per_sec.saturating_mul(u32::try_from(options.ping_secs).unwrap_or(u32::MAX)),
            None => CHATTER,
        };
        let mut chatter = most;
        let mut beat = std::pin::pin!(sleep(every));
        loop {
            tokio::select! {
                biased;
                () = self.shared.stopping.cancelled() => return Leave::Close(Close::DRAINING),
                event = wire.event() => {
                    if let Some(leave) = self.heard(wire, event, &mut chatter, said.as_ref()) {
                        return leave;
                    }
                }
                next = messages.next(), if wire.has_room() => {
                    if let Err(leave) = self.send(wire, &mut messages, next) {
                        return leave;
                    }
                }
                () = &mut beat => {
                    let now = Instant::now();
                    if let Some(leave) = late(wire, now, every, idle) {
                        return leave;
                    }
                    chatter = most;
                    wire.ping();
                    beat.as_mut().reset(now + every);
                }
            }
        }
    }

    /// What follows from what happened on the connection.
    fn heard(&self, wire: &mut Wire, event: Event, chatter: &mut u32, said: Option<&Telling>) -> Option<Leave> {
        match event {
            Event::Said(Said::Text(text)) => {
                let Some(left) = chatter.checked_sub(1) else { return Some(Leave::Close(Close::TOO_MANY)) };
                *chatter = left;
                self.tell(wire, &text, said?)
            }
            Event::Said(Said::Close(code)) => Some(Leave::Answer(code)),
            Event::Broken(fault) => Some(fault.into()),
            Event::Gone => Some(Leave::Gone),
            Event::Said(Said::Ping(_) | Said::Pong) | Event::Written => None,
        }
    }

    /// Hands a text on as a message. One that is none is answered as long as the client reads.
    fn tell(&self, wire: &mut Wire, text: &str, said: &Telling) -> Option<Leave> {
        match self.shared.decoder.message(self.route, text.as_bytes()) {
            Ok(message) => said.tell(message).err().map(|TooMany| Leave::Close(Close::TOO_MANY)),
            Err(problem) => {
                if wire.has_room() {
                    let error = Failure::from(problem).json(&self.shared.encoder, None);
                    wire.send([br#"{"error":"#.as_slice(), error.body.as_ref(), b"}"].concat().into());
                }
                None
            }
        }
    }

    /// Sends a message and those that are there behind it: what waits goes in one write.
    fn send(
        &self,
        wire: &mut Wire,
        messages: &mut Messages,
        mut next: Result<Option<Bytes>, Status>,
    ) -> Result<(), Leave> {
        loop {
            match next {
                Ok(Some(message)) => match self.shared.texts.of(&self.shared.encoder, self.route, &message) {
                    Ok(json) => wire.send(json),
                    Err(problem) => return Err(self.told(&problem.into())),
                },
                Ok(None) => return Err(Leave::Close(Close::DONE)),
                Err(status) => return Err(self.told(&status)),
            }
            if !wire.has_room() {
                return Ok(());
            }
            match messages.next().now_or_never() {
                Some(more) => next = more,
                None => return Ok(()),
            }
        }
    }

    fn told(&self, status: &Status) -> Leave {
        Leave::Close(Close::of(status, &self.shared.encoder))
    }
}

/// Hears the first message of a client that has not said who it is.
async fn first_words(wire: &mut Wire) -> Result<HeaderValue, Leave> {
    loop {
        match wire.event().await {
            Event::Said(Said::Text(text)) => {
                return first::token(&text).ok_or(Leave::Close(Close::NO_TOKEN));
            }
            Event::Said(Said::Close(code)) => return Err(Leave::Answer(code)),
            Event::Broken(fault) => return Err(fault.into()),
            Event::Gone => return Err(Leave::Gone),
            Event::Said(Said::Ping(_) | Said::Pong) | Event::Written => {}
        }
    }
}

/// The client is silent, or takes nothing: it would hold its place for ever.
fn late(wire: &Wire, now: Instant, every: Duration, idle: Duration) -> Option<Leave> {
    if wire.stuck_since().is_some_and(|since| now.duration_since(since) >= every) {
        return Some(Leave::Close(Close::SLOW));
    }
    (now.duration_since(wire.heard()) >= idle).then_some(Leave::Close(Close::IDLE))
}
