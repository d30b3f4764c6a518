//! Plain HTTP of the edge, with the layers that do not depend on the route: the call, catch-panic, metrics, one log line.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
};

use axum::Router;
use coreloop_access::address::ClientAddress;
use coreloop_core::Problem;
use coreloop_service::{Call, RouteName, Target, call::REQUEST_ID};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use tokio::time::Instant;
use tonic::body::Body;
use tower::{Service, ServiceExt as _};

use crate::{
    pipeline::{Peer, Process},
    red::Red,
    spans::Span,
};

/// The edge's router with the layers around it. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Edge(Arc<Inner>);

struct Inner {
    process: Arc<Process>,
    red: Red,
    router: Router,
}

impl Edge {
    pub(crate) fn new(process: Arc<Process>, red: Red, router: Router) -> Self {
        Self(Arc::new(Inner { process, red, router }))
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
        let method = request.method().as_str().to_owned();
        let target = Arc::new(Target {
            domain: "edge".to_owned(),
            service: String::new(),
            method: method.clone(),
            path: request.uri().path().to_owned(),
        });
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        let call = self.process.call(request.headers(), &target, peer);
        if let Some(client) = call.client {
            request.extensions_mut().insert(ClientAddress(client));
        }
        let request = request.map(axum::body::Body::new);
        let work = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind();
        let mut response = match Arc::clone(&call).scope(work).await {
            Ok(Ok(response)) => response.map(Body::new),
            Err(_) => {
                Arc::clone(&call).within(|| tracing::error!(target: "coreloop::http", "the edge panicked"));
                panicked()
            }
        };
        response.headers_mut().insert(REQUEST_ID, call.request_id.clone());
        self.end(&call, &method, &response, started);
        response
    }

    fn end(&self, call: &Arc<Call>, method: &str, response: &Response<Body>, started: Instant) {
        let (took, status) = (started.elapsed(), response.status());
        let route = response.extensions().get::<RouteName>();
        let route = route.map_or("unknown", |route| &route.0);
        // A method that a client made up is no series.
        let known =
            ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"].into_iter().find(|known| *known == method);
        self.red.route(known.unwrap_or("other"), route, status.as_u16(), took.as_secs_f64());
        let duration_ms = took.as_secs_f64() * 1000.0;
        // The call behind a success has its own line, with the user.
        Arc::clone(call).within(|| match status.as_u16() {
            500.. => tracing::warn!(target: "coreloop::http", status = status.as_u16(), duration_ms, "request failed"),
            400.. => tracing::info!(target: "coreloop::http", status = status.as_u16(), duration_ms, "request refused"),
            _ => tracing::debug!(target: "coreloop::http", status = status.as_u16(), duration_ms, "request answered"),
        });
        if let Some(spans) = &self.process.spans {
            let failed = status.is_server_error();
            if failed || call.trace.sampled {
                spans.take(Span {
                    trace: call.trace,
                    target: Arc::clone(&call.target),
                    ended: self.process.clock.now(),
                    took,
                    code: i32::from(status.as_u16()),
                    failed,
                    grpc: false,
                });
            }
        }
    }
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
