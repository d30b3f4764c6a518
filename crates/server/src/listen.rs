//! Listeners and connections.

use std::{convert::Infallible, future::Future, net::SocketAddr, time::Duration};

use coreloop_access::address::PeerAddress;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tower::{Service, ServiceExt as _};

use crate::{StartError, opening::Opening, options::ServerOptions, upgrading};

const BACKLOG: u32 = 4096;
/// HTTP/1 clients that send their headers slower than this are cut off.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// Streams of one connection that were reset before they were looked at, before it is closed. Envoy hands the resets of
/// its clients on by the connection that all of them share: hyper's own 20 let one client cut off the others.
const RESETS: usize = 2_048;

/// Binds `host:port`; `setting` is named when that fails.
pub(crate) fn bind(host: &str, port: u16, setting: &str) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Bind { address: format!("{host}:{port}"), setting: setting.to_owned(), source };
    let open = || {
        let ip: std::net::IpAddr = host.parse().map_err(std::io::Error::other)?;
        let socket = if ip.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart does not wait for old connections to be forgotten. Two live listeners on a port stay an error.
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(ip, port))?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    open().map_err(failed)
}

/// Which protocols a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/2 with prior knowledge, for gRPC.
    Grpc,
    /// HTTP/1.1 and HTTP/2, told apart by the first bytes.
    Http,
}

/// How listeners of one process end.
#[derive(Clone)]
pub(crate) struct Stops {
    /// No new connections or requests; running ones go on.
    pub(crate) drain: CancellationToken,
    /// Every connection is cut.
    pub(crate) kill: CancellationToken,
    /// Every connection's task.
    pub(crate) connections: TaskTracker,
}

impl Stops {
    pub(crate) fn new() -> Self {
        Self { drain: CancellationToken::new(), kill: CancellationToken::new(), connections: TaskTracker::new() }
    }
}

/// Serves `service` to everything that connects to `listener`, until told to stop.
pub(crate) fn serve<S>(listener: TcpListener, service: S, protocol: Protocol, options: &ServerOptions, stops: &Stops)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let connections = Connections { builder: builder(protocol, options), service, stops: stops.clone() };
    stops.connections.spawn(accept(listener, connections));
}

#[derive(Clone)]
struct Connections<S> {
    builder: auto::Builder<TokioExecutor>,
    service: S,
    stops: Stops,
}

fn builder(protocol: Protocol, options: &ServerOptions) -> auto::Builder<TokioExecutor> {
    let (interval, timeout) = options.keepalive();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(interval)
        .keep_alive_timeout(timeout)
        .max_concurrent_streams(options.max_streams)
        .max_pending_accept_reset_streams(RESETS)
        .max_header_list_size(options.max_header_bytes);
    match protocol {
        Protocol::Grpc => {
            builder.http2().max_concurrent_streams(options.peer_streams());
            builder.http2_only()
        }
        Protocol::Http => {
            let most = usize::try_from(options.max_header_bytes).unwrap_or(16 * 1024);
            // hyper's own least is 8 KiB.
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(most.max(8192));
            builder
        }
    }
}

async fn accept<S>(listener: TcpListener, connections: Connections<S>)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let graceful = GracefulShutdown::new();
    let stops = connections.stops.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stops.drain.cancelled() => break,
            () = stops.kill.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => connections.start(stream, peer, &graceful),
            Err(error) => {
                // Out of file descriptors, mostly: trying again at once would only burn the processor.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = stops.kill.cancelled() => {}
    }
}

impl<S> Connections<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    fn start(&self, stream: TcpStream, peer: SocketAddr, graceful: &GracefulShutdown) {
        // An answer is one small write: waiting to send more with it only makes it late.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let service = self.service.clone();
        let answer = service_fn(move |request: Request<Incoming>| answer(service.clone(), request, peer));
        let connection =
            self.builder.serve_connection_with_upgrades(TokioIo::new(Opening::within(HEADER_TIME, stream)), answer);
        let connection = graceful.watch(connection.into_owned());
        let kill = self.stops.kill.clone();
        self.stops.connections.spawn(async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection ended");
                    }
                }
                () = kill.cancelled() => {}
            }
        });
    }
}

fn answer<S>(
    service: S,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> impl Future<Output = Result<Response<Body>, Infallible>>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(PeerAddress(peer.ip()));
    upgrading::offer(request.extensions_mut());
    service.oneshot(request)
}
