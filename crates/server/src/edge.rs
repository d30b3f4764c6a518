//! Plain HTTP of the edge, with the layers that do not depend on the route: the call, catch-panic, metrics, one log line.

use std::{
    collections::HashSet,
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
};

use coreloop_access::address::{ClientAddress, PeerAddress};
use coreloop_core::Problem;
use coreloop_service::{Call, Local, RouteName, Target, call::REQUEST_ID};
use coreloop_transcode::descriptor;
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use tokio::time::Instant;
use tonic::{Status, body::Body};
use tower::Service;

use crate::{pipeline::Process, red::Red, reply, spans::Outcome};

/// The edge with the layers around it. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Edge(Arc<Inner>);

struct Inner {
    process: Arc<Process>,
    red: Red,
    edge: Local,
    names: Names,
}

impl Edge {
    pub(crate) fn new(process: Arc<Process>, red: Red, edge: Local) -> Self {
        Self(Arc::new(Inner { process, red, edge, names: Names::new() }))
    }
}

/// What requests are known by in logs, traces and metrics: names of ours, for a path or a method that a client typed may
/// be anything, also an address of mail.
struct Names {
    known: [Arc<Target>; 7],
    other: Arc<Target>,
    /// Paths of RPCs: gRPC and gRPC-Web have no template.
    rpcs: HashSet<Arc<str>>,
}

impl Names {
    fn new() -> Self {
        let target = |method: &str| {
            Arc::new(Target {
                domain: "edge".to_owned(),
                method: method.to_owned(),
                path: "unknown".to_owned(),
                ..Target::default()
            })
        };
        let methods = descriptor::pool().services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let path = |method: prost_reflect::MethodDescriptor| {
            format!("/{}/{}", method.parent_service().full_name(), method.name()).into()
        };
        Self {
            known: ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"].map(target),
            other: target("other"),
            rpcs: methods.map(path).collect(),
        }
    }

    fn target(&self, method: &Method) -> &Arc<Target> {
        self.known.iter().find(|known| known.method == method.as_str()).unwrap_or(&self.other)
    }
}

impl Service<Request<Body>> for Edge {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { Ok(inner.serve(request).await) })
    }
}

impl Inner {
    async fn serve(&self, mut request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let target = self.names.target(request.method());
        let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
        let call = self.process.call(request.headers(), target, peer);
        if let Some(rpc) = self.names.rpcs.get(request.uri().path()) {
            call.routed(Arc::clone(rpc));
        }
        if let Some(client) = call.client {
            request.extensions_mut().insert(ClientAddress(client));
        }
        let ending = Ending { inner: self, call: Arc::clone(&call), started, told: false };
        let work = AssertUnwindSafe(async { self.edge.call(request).await }).catch_unwind();
        let mut response = match Arc::clone(&call).scope(work).await {
            Ok(Ok(response)) => response,
            Err(_) => {
                Arc::clone(&call).within(|| tracing::error!(target: "coreloop::http", "the edge panicked"));
                panicked()
            }
        };
        response.headers_mut().insert(REQUEST_ID, call.request_id.clone());
        ending.end(&response);
        response
    }
}

/// Status of a request whose client went away before its answer; as nginx counts it.
const CLIENT_CLOSED: u16 = 499;

/// The end of a request, told once: by what it was answered, or by being dropped when its client went away before.
struct Ending<'a> {
    inner: &'a Inner,
    call: Arc<Call>,
    started: Instant,
    told: bool,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.tell(StatusCode::from_u16(CLIENT_CLOSED).unwrap_or_default(), false);
        }
    }
}

impl Ending<'_> {
    fn end(mut self, response: &Response<Body>) {
        if let Some(route) = response.extensions().get::<RouteName>() {
            self.call.routed(Arc::clone(&route.0));
        }
        let status = response.status();
        self.tell(status, status.is_server_error() || failed_as_grpc(response.headers()));
    }

    fn tell(&mut self, status: StatusCode, failed: bool) {
        self.told = true;
        let (inner, call, took) = (self.inner, &self.call, self.started.elapsed());
        inner.red.route(&call.target.method, call.path(), status.as_u16(), took.as_secs_f64());
        let duration_ms = took.as_secs_f64() * 1000.0;
        // The call behind a success has its own line, with the user.
        Arc::clone(call).within(|| match status.as_u16() {
            500.. => tracing::warn!(target: "coreloop::http", status = status.as_u16(), duration_ms, "request failed"),
            400.. => tracing::info!(target: "coreloop::http", status = status.as_u16(), duration_ms, "request refused"),
            _ => tracing::debug!(target: "coreloop::http", status = status.as_u16(), duration_ms, "request answered"),
        });
        inner.process.export(call, Outcome::Http(status), failed, took);
    }
}

/// gRPC and gRPC-Web say in a header of an answer without a body how they failed; the HTTP status is 200 all the same.
fn failed_as_grpc(headers: &HeaderMap) -> bool {
    headers.contains_key(Status::GRPC_STATUS)
        && Status::from_header_map(headers).is_some_and(|status| reply::is_ours(status.code()))
}

fn panicked() -> Response<Body> {
    let problem = Problem::internal("panic");
    let body = serde_json::json!({"code": 13, "message": problem.message(), "details": [{
        "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": problem.reason(), "domain": problem.domain(),
    }]});
    let mut response = Response::new(Body::new(http_body_util::Full::new(bytes::Bytes::from(body.to_string()))));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_told() {
        let names = Names::new();
        assert_eq!(names.target(&Method::GET).method, "GET");
        for typed in ["alice@example.com", "get", "CONNECT"] {
            let typed = Method::from_bytes(typed.replace('@', "-").as_bytes()).unwrap();
            assert_eq!(names.target(&typed).method, "other", "{typed}");
        }
        assert!(names.rpcs.contains("/coreloop.auth.v1.AuthService/Login"));
        assert!(!names.rpcs.contains("/coreloop.auth.v1.AuthService/alice"));
    }

    #[test]
    fn a_failed_rpc_is_a_failed_request() {
        let headers =
            |code: &'static str| HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static(code))]);
        for (code, failed) in [("14", true), ("13", true), ("4", true), ("0", false), ("5", false), ("16", false)] {
            assert_eq!(failed_as_grpc(&headers(code)), failed, "{code}");
        }
        assert!(!failed_as_grpc(&HeaderMap::new()));
    }
}
