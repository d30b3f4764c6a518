//! One REST request, in a straight line: route, limits, JSON to protobuf, call, protobuf to JSON.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use coreloop_core::{Problem, Reason};
use coreloop_service::{Call, link::GRPC_TIMEOUT};
use coreloop_transcode::{
    request::Input,
    response::Reply,
    router::{Match, Route, Vars},
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Full};
use tonic::body::Body;

use crate::{
    body::{self, Held, Place},
    call,
    edge::{Shared, lang},
    etag,
    fail::Failure,
    inbound::{self, Origin},
    outbound, socket, stream,
    table::Row,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// The documentation page runs its own inline script and talks to its own origin, nothing else.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
     frame-ancestors 'none'",
);
/// A service that keeps its deadline answers before the edge gives up on it, so the caller gets the service's status.
const GRACE: Duration = Duration::from_millis(250);

/// A call that is ready to be made.
pub(crate) struct Ready<'a> {
    pub(crate) route: &'static Route,
    pub(crate) row: &'a Row,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) metadata: HeaderMap,
    pub(crate) message: Bytes,
    pub(crate) deadline: Option<Duration>,
    /// Room of the body, for the message is about as large; given back when the service has answered.
    _place: Place,
}

/// Serves one request, whatever becomes of it.
pub(crate) async fn serve(shared: &Arc<Shared>, parts: &Parts, body: Body, origin: Origin<'_>) -> Response<Body> {
    let target = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let (route, vars) = match shared.router.find(parts.method.as_str(), target) {
        Match::Found { route, vars } => (route, vars),
        Match::WrongMethod { allow } => return shared.refused(Failure::method(allow), lang(&parts.headers)).await,
        Match::NotFound => return shared.refused(Failure::no_route(), lang(&parts.headers)).await,
        Match::BadEscape => {
            let failure = Failure::common(Reason::MalformedRequest, "a percent escape of the path cannot be read");
            return shared.refused(failure, lang(&parts.headers)).await;
        }
    };
    let Some(row) = shared.table.row(route) else {
        return shared.refused(Failure::no_route(), lang(&parts.headers)).await;
    };
    // From here on its logs can say where it went, also when the client does not wait for the answer.
    if let Some(call) = Call::current() {
        call.routed(Arc::clone(&row.name.0));
    }
    let told = |failure: Failure| failure.reply(&shared.encoder, lang(&parts.headers));
    let socket = route.edge.socket && socket::asked(&parts.headers);
    let mut response = match ready(shared, (route, row), &vars, parts, body, origin).await {
        Ok(ready) if socket => Box::pin(socket::serve(shared, ready, parts, origin.host)).await,
        Ok(ready) if route.method.is_client_streaming() => Box::pin(socket::needed(shared, ready)).await,
        // Boxed, so that the future of a unary call, which is made for every request, has no room for a stream.
        Ok(ready) if route.server_streaming => Box::pin(stream::serve(shared, ready)).await.unwrap_or_else(told),
        Ok(ready) => unary(shared, ready).await.unwrap_or_else(told),
        Err(failure) => shared.refused(failure, lang(&parts.headers)).await,
    };
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    if let Some(notice) = &row.notice {
        notice.tell(response.headers_mut());
    }
    response.extensions_mut().insert(row.name.clone());
    response
}

async fn ready<'a>(
    shared: &Shared,
    (route, row): (&'static Route, &'a Row),
    vars: &Vars<'_>,
    parts: &'a Parts,
    body: Body,
    origin: Origin<'_>,
) -> Result<Ready<'a>, Failure> {
    if row.mesh_only {
        return Err(Failure::common(Reason::AccessDenied, "this call is not served outside the mesh"));
    }
    let headers = &parts.headers;
    let most = Duration::from_secs(shared.options.deadline_max_secs);
    let asked = inbound::timeout(headers)?.map(|asked| asked.min(most)).map(|d| (d, inbound::timeout_value(d)));
    let mut metadata = inbound::rest(headers, origin, &row.forward)?;
    let deadline = asked.or_else(|| row.deadline.clone()).map(|(deadline, value)| {
        metadata.insert(GRPC_TIMEOUT, value);
        deadline
    });
    let Held { bytes, place } = match row.reads_body {
        true => shared.read(headers, body, row.body_limit).await?,
        false if body::stated(headers).is_some_and(|length| length > row.body_limit as u64) => {
            return Err(body::too_large());
        }
        false => Held::default(),
    };
    let text = |name: &HeaderName| headers.get(name).map(HeaderValue::to_str).transpose().map_err(|_| unreadable());
    let message = shared.decoder.decode(
        route,
        &Input {
            vars,
            query: parts.uri.query().unwrap_or_default(),
            content_type: text(&header::CONTENT_TYPE)?,
            body: &bytes,
            idempotency_key: text(&IDEMPOTENCY_KEY)?,
        },
    )?;
    Ok(Ready { route, row, headers, metadata, message, deadline, _place: place })
}

fn unreadable() -> Failure {
    Failure::common(Reason::MalformedRequest, "a header is not text")
}

async fn unary(shared: &Shared, mut ready: Ready<'_>) -> Result<Response<Body>, Failure> {
    let row = ready.row;
    let limit = shared.options.reply_limit_bytes;
    let metadata = std::mem::take(&mut ready.metadata);
    let call = call::unary(row.link.clone(), row.path.clone(), metadata, &ready.message, limit);
    let reply = match ready.deadline {
        Some(deadline) => tokio::time::timeout(deadline.saturating_add(GRACE), call).await.map_err(|_| late())??,
        None => call.await?,
    };
    let encoded = shared.encoder.encode(ready.route, &reply.message)?;
    respond(&ready, encoded, &reply)
}

/// The deadline passed without an answer.
pub(crate) fn late() -> Failure {
    Problem::common(Reason::DeadlineExceeded, "the deadline passed").into()
}

fn respond(ready: &Ready<'_>, encoded: Reply, reply: &call::Reply) -> Result<Response<Body>, Failure> {
    let row = ready.row;
    let mut headers = HeaderMap::new();
    outbound::headers(&reply.headers, &mut headers);
    headers.insert(header::CACHE_CONTROL, row.cache.clone());
    if let Some(target) = encoded.location {
        // A redirect without a target, or with a line break in it, is a fault of the service and not the client's riddle.
        headers.insert(header::LOCATION, HeaderValue::try_from(target).map_err(Problem::internal)?);
    }
    let kind = match encoded.content_type {
        std::borrow::Cow::Borrowed(kind) => HeaderValue::from_static(kind),
        std::borrow::Cow::Owned(kind) => HeaderValue::try_from(kind).unwrap_or(crate::fail::JSON),
    };
    if kind.as_bytes().starts_with(b"text/html") {
        headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    }
    let mut status = StatusCode::from_u16(encoded.http_status).unwrap_or(StatusCode::OK);
    let mut body = encoded.body;
    if row.etag && status == StatusCode::OK {
        let tag = etag::of(&body);
        if etag::known(ready.headers, &tag) {
            status = StatusCode::NOT_MODIFIED;
            body = Bytes::new();
        }
        headers.insert(header::ETAG, tag);
    }
    if status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    let mut response = Response::new(Body::empty());
    *response.body_mut() = with_trailers(ready.headers, body, &reply.trailers, &mut headers);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Trailers go only to a client that says it reads them.
fn with_trailers(asked: &HeaderMap, body: Bytes, trailers: &HeaderMap, headers: &mut HeaderMap) -> Body {
    let te = asked.get(header::TE).and_then(|te| te.to_str().ok()).unwrap_or_default();
    let wants = te.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
    let Some(trailers) = wants.then(|| outbound::trailers(trailers)).flatten() else {
        return Body::new(Full::new(body));
    };
    let names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
    if let Ok(names) = HeaderValue::try_from(names.join(", ")) {
        headers.insert(header::TRAILER, names);
    }
    Body::new(Full::new(body).with_trailers(std::future::ready(Some(Ok(trailers)))))
}
