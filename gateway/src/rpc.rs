//! gRPC-Web and native gRPC on the gateway port: handed to the links by path, translated where a browser speaks.

use std::{convert::Infallible, sync::Arc};

use coreloop_core::Reason;
use coreloop_service::{Link, frame};
use http::{HeaderMap, Method, Request, Response, Uri, Version, header, request::Parts};
use http_body::Frame;
use http_body_util::StreamBody;
use tonic::{Status, body::Body};
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, ServiceExt as _};

use crate::{
    body::Place,
    call,
    edge::{Shared, lang},
    fail::Failure,
    inbound::{self, Origin},
    passing::Passing,
    table::{Rpc, module_of},
};

/// How a content type of gRPC-Web begins whose body is base64.
const TEXT: &[u8] = b"application/grpc-web-text";

/// A way to speak gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/2 with trailers.
    Native,
    /// `application/grpc-web`, binary or text.
    Web,
    /// A spelling of `application/grpc…` that is neither.
    Unknown,
}

impl Protocol {
    /// What the content type says; none for anything but gRPC.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(header::CONTENT_TYPE)?.as_bytes().strip_prefix(b"application/grpc")?;
        Some(match kind {
            b"" | b"+proto" => Self::Native,
            b"-web" | b"-web+proto" | b"-web-text" | b"-web-text+proto" => Self::Web,
            _ => Self::Unknown,
        })
    }
}

/// Hands a call on.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    protocol: Protocol,
    parts: Parts,
    body: Body,
    origin: Origin<'_>,
) -> Response<Body> {
    let lang = lang(&parts.headers);
    if protocol == Protocol::Unknown || (protocol == Protocol::Native && parts.version != Version::HTTP_2) {
        let failure =
            Failure::common(Reason::UnsupportedMediaType, "gRPC needs HTTP/2 and protobuf; browsers use gRPC-Web");
        return shared.refused(failure, lang).await;
    }
    if parts.method != Method::POST {
        return shared.refused(Failure::method("POST".to_owned()), lang).await;
    }
    let rpc = shared.table.rpc(parts.uri.path());
    let (target, body, _place) = match admit(shared, protocol, rpc, &parts, body).await {
        Ok((link, body, place)) => (Ok(link), body, place),
        Err(failure) => (Err(Box::pin(shared.charged(failure)).await.into_status()), Body::empty(), None),
    };
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    if let Some(path) = parts.uri.path_and_query() {
        *request.uri_mut() = Uri::from(path.clone());
    }
    *request.headers_mut() = inbound::grpc(&parts.headers, origin);
    let ends_with_us = rpc.is_some_and(|rpc| rpc.streaming).then(|| shared.stopping.clone());
    let peer = tower::service_fn(move |request: Request<Body>| {
        let (answer, stopping) = (hand_on(target.clone(), request), ends_with_us.clone());
        async move {
            let response = answer.await?;
            Ok::<_, Infallible>(match stopping {
                Some(stopping) => response.map(|body| Body::new(Passing::new(body, stopping))),
                None => response,
            })
        }
    });
    let reply = match protocol {
        Protocol::Web => {
            shared.families.passed("grpc-web");
            GrpcWebLayer::new().layer(peer).oneshot(request.map(|_| body)).await
        }
        _ => {
            shared.families.passed("grpc");
            peer.oneshot(request.map(|_| body)).await
        }
    };
    let Ok(mut response) = reply;
    if let Some(notice) = rpc.and_then(|rpc| rpc.notice.as_ref()) {
        notice.tell(response.headers_mut());
    }
    response
}

async fn hand_on(target: Result<Link, Status>, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let link = match target {
        Ok(link) => link,
        Err(status) => return Ok(status.into_http()),
    };
    let peer = link.name().to_owned();
    Ok(link.oneshot(request).await.unwrap_or_else(|error| {
        let error = &error as &(dyn std::error::Error + 'static);
        tracing::warn!(peer, error, "call did not reach its peer");
        call::unanswered(error).into_http()
    }))
}

/// Who serves a call, with the body to hand on and the room that it takes.
///
/// A call of a browser is one message (gRPC-Web has no client streams), so it is read here like a body of REST and meets the
/// same bounds. Native gRPC is handed on as it comes, and its service bounds it.
async fn admit(
    shared: &Shared,
    protocol: Protocol,
    rpc: Option<&Rpc>,
    parts: &Parts,
    body: Body,
) -> Result<(Link, Body, Place), Failure> {
    let link = target(shared, rpc, parts.uri.path())?;
    if protocol == Protocol::Native {
        return Ok((link, body, None));
    }
    let message = rpc.map_or(shared.table.body_limit, |rpc| rpc.body_limit);
    let held = shared.read(&parts.headers, body, web_limit(&parts.headers, message)).await?;
    // As a stream, which states no length: that of base64 text is not that of what it decodes to, and the peer's HTTP/2
    // would take the difference for a broken request.
    let whole = futures::stream::once(std::future::ready(Ok::<_, Infallible>(Frame::data(held.bytes))));
    Ok((link, Body::new(StreamBody::new(whole)), held.place))
}

/// Largest body that holds a message of this size: its frame, and four letters of text for three bytes.
fn web_limit(headers: &HeaderMap, message: usize) -> usize {
    let framed = message.saturating_add(frame::HEADER);
    let text = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(TEXT));
    if text { framed.div_ceil(3).saturating_mul(4) } else { framed }
}

/// Who serves a path. What the mesh keeps to itself is refused here too, though each service decides for itself.
fn target(shared: &Shared, rpc: Option<&Rpc>, path: &str) -> Result<Link, Failure> {
    let module = match module_of(path) {
        Some(module) => module,
        // Health and reflection of the mesh as the edge's own server tells them.
        None if path.starts_with("/grpc.health.v1.") || path.starts_with("/grpc.reflection.v1") => "edge",
        None => return Err(unknown()),
    };
    if rpc.is_some_and(|rpc| rpc.mesh_only) {
        return Err(Failure::common(Reason::AccessDenied, "this call is not served outside the mesh"));
    }
    if shared.links.knows(module) { Ok(shared.links.to(module)) } else { Err(unknown()) }
}

fn unknown() -> Failure {
    Failure::common(Reason::Unimplemented, "no service answers this path")
}
