//! Modules that do what the test says.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, response::IntoResponse, routing::post};
use coreloop_core::{Problem, Reason};
use coreloop_service::{Answering, BuildError, Built, Call, Ctx, Local, Module, Rpcs, Worker};
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tonic::{Status, body::Body, server::NamedService, service::Routes};
use tower::Service;

/// What the fake does, told to the test.
#[derive(Default)]
pub(super) struct Seen {
    /// A call began that waits.
    pub(super) began: Notify,
    /// It may end.
    pub(super) go: Notify,
    pub(super) worker_ended: Notify,
    /// Neither the module nor the test has this any more.
    pub(super) gone: Arc<Notify>,
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.gone.notify_one();
    }
}

/// A module that answers, panics, fails, or waits until it may answer.
pub(super) struct Fake(pub(super) Arc<Seen>);

impl Module for Fake {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn build(self: Box<Self>, ctx: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        let seen = Arc::clone(&self.0);
        // As every module does, it keeps the links by which it would call its peers.
        let peers = ctx.links;
        let router = Router::new()
            .route("/coreloop.auth.v1.AuthService/Login", post(|| async { panic!("hunter2") as Empty }))
            .route(
                "/coreloop.auth.v1.AuthService/GetMe",
                post(move || {
                    let _peers = peers.clone();
                    async { empty() }
                }),
            )
            .route(
                "/coreloop.auth.v1.AuthService/GetOpenIdConfiguration",
                post(|| async { Status::unavailable("tcp connect error: 10.1.2.3:5432").into_http::<Body>() }),
            )
            .route(
                "/coreloop.auth.v1.AuthService/GetJwks",
                post(move || {
                    let seen = Arc::clone(&seen);
                    async move {
                        seen.began.notify_one();
                        seen.go.notified().await;
                        match Call::current() {
                            Some(_) => empty().into_response(),
                            None => Status::from(Problem::common(Reason::Internal, "no call"))
                                .into_http::<Body>()
                                .into_response(),
                        }
                    }
                }),
            );
        let seen = self.0;
        let worker = Worker::new("auth.test", move |stop| {
            let seen = Arc::clone(&seen);
            async move {
                stop.cancelled().await;
                seen.worker_ended.notify_one();
            }
        });
        let built = Built { rpcs: Rpcs::new().with(Routed(router.into())), workers: vec![worker], ..Built::default() };
        Box::pin(std::future::ready(Ok(built)))
    }
}

/// The fake's routes as one gRPC service.
#[derive(Clone)]
struct Routed(Routes);

impl NamedService for Routed {
    const NAME: &'static str = "coreloop.auth.v1.AuthService";
}

impl Service<http::Request<Body>> for Routed {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answering {
        Box::pin(self.0.clone().call(request))
    }
}

/// An edge where somebody waits for ever.
pub(super) struct Door(pub(super) Arc<Seen>);

impl Module for Door {
    fn name(&self) -> &'static str {
        "edge"
    }

    fn build(self: Box<Self>, _: Ctx) -> BoxFuture<'static, Result<Built, BuildError>> {
        let seen = self.0;
        let wait = tower::service_fn(move |_| -> Answering {
            seen.began.notify_one();
            Box::pin(std::future::pending())
        });
        let built = Built { http: Some(Local::new(wait)), ..Built::default() };
        Box::pin(std::future::ready(Ok(built)))
    }
}

type Empty = http::Response<Body>;

/// An empty message and its status.
fn empty() -> Empty {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let frames = [http_body::Frame::data(bytes::Bytes::from_static(&[0; 5])), http_body::Frame::trailers(trailers)];
    let body = http_body_util::StreamBody::new(futures::stream::iter(frames.map(Ok::<_, Status>)));
    http::Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}
