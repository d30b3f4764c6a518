//! The edge as one HTTP service: what every request meets, whichever protocol it speaks.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use coreloop_core::{Ids, Reason};
use coreloop_limit::Limiter;
use coreloop_service::{BuildError, Call, Links, Metrics, Worker, call::REQUEST_ID};
use coreloop_transcode::{options::Lang, request::Decoder, response::Encoder, router::Router};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{BoxError, Service};

use crate::{
    Options,
    body::{Bounds, Held, Room},
    compress,
    cors::Cors,
    fail::Failure,
    inbound::Origin,
    linger::lingering,
    metrics::Families,
    request_id, rest, rpc,
    socket::{Sockets, Texts},
    table::Table,
};

/// The edge: an HTTP service for any path. Cheap to clone.
#[derive(Clone)]
pub struct Edge(pub(crate) Arc<Shared>);

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) router: &'static Router,
    pub(crate) decoder: Decoder<'static>,
    pub(crate) encoder: Encoder<'static>,
    pub(crate) table: Table,
    pub(crate) links: Links,
    pub(crate) families: Families,
    pub(crate) stopping: CancellationToken,
    pub(crate) cors: Cors,
    pub(crate) sockets: Sockets,
    pub(crate) texts: Texts,
    limiter: Arc<Limiter>,
    room: Room,
    ids: Arc<dyn Ids>,
}

/// What the edge stands on.
pub struct Ground {
    /// Routes of the contracts.
    pub router: &'static Router,
    /// Peers.
    pub links: Links,
    /// How often clients may call: the process's own, in which its services count too.
    pub limiter: Arc<Limiter>,
    /// Ids of requests that bring none.
    pub ids: Arc<dyn Ids>,
    /// Where metrics are registered.
    pub metrics: Metrics,
    /// Ends open streams.
    pub stopping: CancellationToken,
}

impl Edge {
    /// Builds the table of routes.
    ///
    /// # Errors
    /// When a contract cannot be served as written.
    pub fn new(options: Options, on: Ground) -> Result<Self, BuildError> {
        let families = Families::register(&on.metrics);
        let table = Table::new(on.router, &options, &on.links, &families)?;
        Ok(Self(Arc::new(Shared {
            decoder: Decoder::new(on.router).strict(options.strict_unknown_fields),
            encoder: Encoder::new(on.router),
            router: on.router,
            table,
            links: on.links,
            families,
            stopping: on.stopping,
            limiter: on.limiter,
            room: Room::new(options.bodies_limit_bytes),
            ids: on.ids,
            cors: Cors::new(&options.cors),
            sockets: Sockets::new(options.sockets.max_open),
            texts: Texts::default(),
            options,
        })))
    }

    /// The loop that runs open sockets. Without it a handshake comes to nothing.
    #[must_use]
    pub fn worker(&self) -> Worker {
        self.0.sockets.worker()
    }
}

impl<B> Service<Request<B>> for Edge
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (shared, request) = (Arc::clone(&self.0), request.map(Body::new));
        Box::pin(async move { Ok(shared.serve(request).await) })
    }
}

impl Shared {
    async fn serve(self: &Arc<Self>, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = lingering(parts.version, &parts.headers, body);
        let call = Call::current();
        let id = request_id::of(call.as_deref(), &parts.headers, &*self.ids);
        let host = host(&parts);
        let origin = Origin { request_id: &id, host: host.as_ref(), traced: call.is_some() };
        if let Some(mut preflight) = self.cors.preflight(&parts) {
            preflight.headers_mut().insert(REQUEST_ID, id);
            return preflight;
        }
        let page = self.cors.admitted(&parts.headers);
        let accept = self.options.compression.then(|| parts.headers.get(header::ACCEPT_ENCODING).cloned()).flatten();
        let mut response = match self.refuse_early(&parts) {
            Some(failure) => self.refused(failure, lang(&parts.headers)).await,
            None => self.dispatch(parts, body, origin).await,
        };
        response.headers_mut().insert(REQUEST_ID, id);
        self.cors.expose(page, response.headers_mut());
        match accept {
            Some(accept) if compress::worth(&response, self.options.compression_floor_bytes) => {
                Box::pin(compress::apply(response, accept)).await
            }
            _ => response,
        }
    }

    async fn dispatch(self: &Arc<Self>, parts: Parts, body: Body, origin: Origin<'_>) -> Response<Body> {
        match rpc::Protocol::of(&parts.headers) {
            Some(protocol) => Box::pin(rpc::serve(self, protocol, parts, body, origin)).await,
            None => rest::serve(self, &parts, body, origin).await,
        }
    }

    /// What is too large to look at.
    fn refuse_early(&self, parts: &Parts) -> Option<Failure> {
        if parts.uri.path_and_query().is_some_and(|path| path.as_str().len() > self.options.path_limit_bytes) {
            let failure = Failure::common(Reason::HeadersTooLarge, "the path is longer than admitted");
            return Some(failure.answered(StatusCode::URI_TOO_LONG));
        }
        let size: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        (size > self.options.header_limit_bytes)
            .then(|| Failure::common(Reason::HeadersTooLarge, "the headers are larger than admitted"))
    }

    /// The reply to a request that no service sees.
    pub(crate) async fn refused(&self, failure: Failure, lang: Option<Lang>) -> Response<Body> {
        // Boxed: most requests are not refused, and their future has no room for it.
        Box::pin(self.charged(failure)).await.reply(&self.encoder, lang)
    }

    /// A refusal by the edge itself, counted. It costs the caller's address as much as an anonymous call, and when nothing
    /// is left that is what the caller hears: else whoever guesses paths or sends rubbish would do so without a limit. Who
    /// calls is not known here, so people are counted by their address too, but only by what they send wrong.
    pub(crate) async fn charged(&self, failure: Failure) -> Failure {
        let failure = self.counted().await.err().unwrap_or(failure);
        self.families.refused(failure.reason());
        failure
    }

    /// Counts a request of nobody known in the budget of its address.
    ///
    /// # Errors
    /// `RATE_LIMITED` when nothing is left.
    pub(crate) async fn counted(&self) -> Result<(), Failure> {
        match Call::current().and_then(|call| call.client) {
            Some(address) => self.limiter.check_address(address).await.map(|_| ()).map_err(Failure::from),
            None => Ok(()),
        }
    }

    /// A body of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Room::read`].
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body, limit: usize) -> Result<Held, Failure> {
        let patience = Duration::from_secs(self.options.body_timeout_secs);
        self.room.read(headers, body, Bounds { limit, patience }).await
    }
}

/// The name asked for (RFC 9113, 8.3.1: `:authority` is in the address; RFC 9112, 3.2: else it is `Host`).
fn host(parts: &Parts) -> Option<HeaderValue> {
    match parts.uri.authority() {
        Some(authority) => HeaderValue::try_from(authority.as_str()).ok(),
        None => parts.headers.get(header::HOST).cloned(),
    }
}

/// The language of the caller.
pub(crate) fn lang(headers: &HeaderMap) -> Option<Lang> {
    Lang::from_accept_language(headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()))
}
