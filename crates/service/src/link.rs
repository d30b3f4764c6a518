//! Links to peers: a slot in this process or remote channels, under the stock generated client.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use coreloop_core::{Problem, Reason};
use coreloop_db::deadline;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tonic::{Status, body::Body, transport::Channel};
use tower::{Service, ServiceExt as _};

use crate::{
    Call,
    local::{Answering, Local},
};

/// Header of the time a call may take (gRPC over HTTP/2).
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

#[derive(Clone)]
enum Peer {
    Local(Local),
    Remote(Arc<Channels>),
}

/// Connections to one peer, used in turn: one HTTP/2 connection serialises on a lock at high load.
struct Channels {
    channels: Vec<Channel>,
    next: AtomicUsize,
}

impl Channels {
    fn pick(&self) -> Option<Channel> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.channels.get(turn.checked_rem(self.channels.len())?).cloned()
    }
}

/// The peers of a process. A link is looked up when it is called, so start-up needs no order. Clones share the table.
#[derive(Clone, Default)]
pub struct Links {
    peers: Arc<RwLock<HashMap<String, Peer>>>,
}

impl Links {
    /// Puts a module of this process in its slot.
    pub fn set_local(&self, name: &str, service: Local) {
        self.set(name, Peer::Local(service));
    }

    /// Names the channel of a peer elsewhere.
    pub fn set_remote(&self, name: &str, channel: Channel) {
        self.set_remotes(name, vec![channel]);
    }

    /// Names several channels of one peer elsewhere, used in turn.
    pub fn set_remotes(&self, name: &str, channels: Vec<Channel>) {
        self.set(name, Peer::Remote(Arc::new(Channels { channels, next: AtomicUsize::new(0) })));
    }

    fn set(&self, name: &str, peer: Peer) {
        self.peers.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), peer);
    }

    /// Empties the table, so that modules and links do not keep each other alive when the process stops.
    pub fn clear(&self) {
        self.peers.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The peer is local or has an address.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    /// Every peer that is local or has an address, by name.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.peers.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// A link to `name`, to be given to a generated client: `AuthServiceClient::new(links.to("auth"))`.
    #[must_use]
    pub fn to(&self, name: &str) -> Link {
        Link { name: name.into(), links: self.clone() }
    }

    fn get(&self, name: &str) -> Option<Peer> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(peers.keys()).finish()
    }
}

/// A peer, wherever it runs. Implements the service that generated clients need, and passes on the trace, the request id
/// and what is left of the caller's deadline.
#[derive(Clone, Debug)]
pub struct Link {
    name: Arc<str>,
    links: Links,
}

impl Link {
    /// Name of the peer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The peer runs in another process, if it runs at all.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self.links.get(&self.name), Some(Peer::Remote(_)))
    }
}

impl Service<Request<Body>> for Link {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if deadline::passed() {
            return Answer::failed(Problem::common(Reason::DeadlineExceeded, "the deadline passed"));
        }
        pass_on(request.headers_mut());
        match self.links.get(&self.name) {
            Some(Peer::Local(service)) => Answer::Local(service.call(request)),
            Some(Peer::Remote(channels)) => match channels.pick() {
                Some(channel) => Answer::Remote(Box::pin(channel.oneshot(request))),
                None => self.away(),
            },
            None => self.away(),
        }
    }
}

/// The answer of a peer that is to come.
pub enum Answer {
    /// Of this process, as it stands: no box around its box.
    Local(Answering),
    /// Of another.
    Remote(BoxFuture<'static, Result<Response<Body>, tonic::transport::Error>>),
}

impl Answer {
    fn failed(problem: Problem) -> Self {
        Self::Local(Box::pin(std::future::ready(Ok(Status::from(problem).into_http()))))
    }
}

impl Future for Answer {
    type Output = Result<Response<Body>, tonic::transport::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Local(answer) => answer.as_mut().poll(context).map(|Ok(response)| Ok(response)),
            Self::Remote(answer) => answer.as_mut().poll(context),
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Local(_)) { "Local" } else { "Remote" })
    }
}

impl Link {
    fn away(&self) -> Answer {
        tracing::error!(peer = %self.name, "peer is neither local nor has an address");
        let away = Problem::common(Reason::DependencyUnavailable, "a part that this call needs is away")
            .retry_after(Duration::from_secs(1));
        Answer::failed(away)
    }
}

fn pass_on(headers: &mut HeaderMap) {
    if let Some(call) = Call::current() {
        call.pass_on(headers);
    }
    if let Some(left) = deadline::remaining() {
        let stated = headers.get(&GRPC_TIMEOUT).and_then(|value| value.to_str().ok()).and_then(parse_timeout);
        if stated.is_none_or(|stated| stated > left)
            && let Ok(value) = HeaderValue::try_from(format_timeout(left))
        {
            headers.insert(GRPC_TIMEOUT, value);
        }
    }
}

/// Reads a `grpc-timeout`: at most eight digits and a unit of `H M S m u n`.
#[must_use]
pub fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// Writes a `grpc-timeout` with the finest unit whose digits fit.
#[must_use]
pub fn format_timeout(left: Duration) -> String {
    const MOST: u128 = 99_999_999;
    if left.as_micros() <= MOST {
        format!("{}u", left.as_micros())
    } else if left.as_millis() <= MOST {
        format!("{}m", left.as_millis())
    } else {
        format!("{}S", u128::from(left.as_secs()).min(MOST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        for (text, expected) in [
            ("5S", Some(Duration::from_secs(5))),
            ("2H", Some(Duration::from_secs(7200))),
            ("100m", Some(Duration::from_millis(100))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            ("-5S", None),
            ("123456789S", None),
            ("5é", None),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
        for left in [Duration::from_micros(1), Duration::from_secs(10), Duration::from_secs(86_400 * 30)] {
            assert_eq!(parse_timeout(&format_timeout(left)), Some(left));
        }
    }
}
