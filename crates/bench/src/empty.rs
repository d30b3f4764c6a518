//! The limit that calls are measured against: a tonic unary call that does nothing.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    task::{Context, Poll},
};

use anyhow::Result;
use bytes::Bytes;
use futures::future::BoxFuture;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
    service::Routes,
};
use tower::Service;

use crate::load::Raw;

/// Path of the empty call.
pub(crate) const PATH: &str = "/coreloop.bench.v1.Empty/Call";

/// Serves the empty call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Empty;

impl NamedService for Empty {
    const NAME: &'static str = "coreloop.bench.v1.Empty";
}

impl UnaryService<Bytes> for Empty {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    /// Reads the message, whatever it is, and answers nothing.
    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(Bytes::new())))
    }
}

impl Service<http::Request<Body>> for Empty {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = *self;
        Box::pin(async move { Ok(Grpc::new(Raw).unary(service, request).await) })
    }
}

/// Serves `routes` on a free port of the loopback, with the settings of the product's own listeners that matter here.
///
/// # Errors
/// When no port can be had.
pub(crate) async fn serve(routes: Routes) -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::spawn(async move {
        let served = tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(incoming).await;
        if let Err(error) = served {
            tracing::error!(%error, "bench server ended");
        }
    });
    Ok(address)
}
