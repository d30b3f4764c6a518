//! The way of a call through a service: one line a layer, in this order.
//!
//! catch-panic · request id, trace and metrics · deadline · message · places · caller and access · rate limit · validation ·
//! handler. A call takes its place when its message is here: who sends slowly holds none.
//! It is one future rather than a stack of boxed layers, because each box costs about as much as the layer's own work.
//! The same service answers the network and the link table, so a call in memory passes the same gates.

use std::{
    convert::Infallible,
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use coreloop_access::{
    Allowed, Caller, Decision, Gate, HeaderView,
    address::{ClientAddress, PeerAddress, TrustedProxies},
};
use coreloop_core::{Clock, Ids, Kind, Problem, Reason};
use coreloop_db::deadline;
use coreloop_limit::{Headers as LimitHeaders, Limited, Limiter, Subject};
use coreloop_service::{
    Call, Ended, Rpcs, Span, Spans, Target, Trace,
    call::{FORWARDED_FOR, TRACEPARENT, request_id},
    frame,
    link::{GRPC_TIMEOUT, parse_timeout},
};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use tokio::time::Instant;
use tonic::{Status, body::Body};
use tower::Service;

use crate::{
    admission::House,
    bodies::{Arrived, Bodies},
    open_stream::OpenStreams,
    plan::{Plan, Plans},
    reply::Ending,
    spans::Outcome,
    within::{self, Late},
};

/// What every service of the process shares.
pub(crate) struct Process {
    pub(crate) gate: Arc<Gate>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) trusted: TrustedProxies,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) spans: Option<Arc<dyn Spans>>,
    pub(crate) default_deadline: Duration,
    pub(crate) max_deadline: Duration,
    pub(crate) max_request_bytes: usize,
}

impl Process {
    /// The call that a request begins.
    pub(crate) fn call(&self, headers: &HeaderMap, target: &Arc<Target>, peer: Option<IpAddr>) -> Arc<Call> {
        let id = self.ids.uuid();
        let request_id = request_id(headers, || id);
        let span_id = id.as_bytes().last_chunk::<8>().copied().unwrap_or([1; 8]);
        let caller = headers.get(TRACEPARENT).and_then(|value| Trace::parse(value.to_str().ok()?));
        let trace = match caller {
            Some(caller) => caller.child(span_id),
            None => {
                let trace_id = *id.as_bytes();
                let sampled = self.spans.as_ref().is_some_and(|spans| spans.sample(trace_id));
                Trace { trace_id, span_id, parent: None, sampled }
            }
        };
        Arc::new(Call::new(request_id, trace, Arc::clone(target), self.client(headers, peer)))
    }

    /// Hands a finished call on, if it is to be recorded: one that failed by us always is.
    pub(crate) fn export(&self, call: &Call, outcome: Outcome, failed: bool, took: Duration) {
        let Some(spans) = self.spans.as_ref().filter(|_| failed || call.trace.sampled) else { return };
        let outcome = match outcome {
            Outcome::Grpc(code) => Ended::Grpc(code as i32),
            Outcome::Http(status) => Ended::Http(status.as_u16()),
        };
        let target = match call.path() == call.target.path {
            true => Arc::clone(&call.target),
            false => Arc::new(Target { path: call.path().to_owned(), ..Target::clone(&call.target) }),
        };
        spans.take(Span { trace: call.trace, target, ended: self.clock.now(), took, outcome, failed });
    }

    fn client(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Option<IpAddr> {
        let mut forwarded = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        match peer {
            Some(peer) => {
                let external = headers.get("x-envoy-external-address").and_then(|value| value.to_str().ok());
                Some(self.trusted.client(peer, external, forwarded))
            }
            // The header of a call in memory was written by this process; without it, no client asked.
            None => forwarded.next_back().and_then(|address| address.parse().ok()),
        }
    }
}

/// One module's gRPC, with every layer around it. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Layered(Arc<Layers>);

pub(crate) struct Layers {
    pub(crate) process: Arc<Process>,
    pub(crate) plans: Plans,
    pub(crate) house: House,
    pub(crate) bodies: Bodies,
    pub(crate) streams: OpenStreams,
    pub(crate) rpcs: Rpcs,
}

impl Layered {
    pub(crate) fn new(layers: Layers) -> Self {
        Self(Arc::new(layers))
    }
}

impl Service<Request<Body>> for Layered {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let layers = Arc::clone(&self.0);
        Box::pin(async move { Ok(layers.serve(request).await) })
    }
}

impl Layers {
    async fn serve(&self, request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let plan = self.plans.find(request.uri().path());
        let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
        let call = self.process.call(request.headers(), &plan.target, peer);
        let deadline = self.deadline(plan, request.headers(), started);
        let ending = Ending::new(Arc::clone(&call), Arc::clone(plan), started, Arc::clone(&self.process));
        let work = AssertUnwindSafe(self.answer(plan, &call, request, deadline)).catch_unwind();
        let answered = match deadline {
            Some(at) => Arc::clone(&call).scope(deadline::scope(at, within::before(deadline, work))).await,
            None => Arc::clone(&call).scope(within::before(None, work)).await,
        };
        let response = match answered {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(problem))) => Status::from(problem).into_http(),
            Ok(Err(panic)) => Status::from(Problem::internal(format!("panic: {}", panic_text(&*panic)))).into_http(),
            Err(Late) => Status::from(Problem::common(Reason::DeadlineExceeded, "the deadline passed")).into_http(),
        };
        ending.answer(response, deadline)
    }

    /// When the call must have answered. A stream lasts as long as its caller wants, unless the caller says; a call with
    /// one answer holds a place, so its caller cannot say more than the setting.
    fn deadline(&self, plan: &Plan, headers: &HeaderMap, started: Instant) -> Option<Instant> {
        let stated = headers.get(&GRPC_TIMEOUT).and_then(|value| parse_timeout(value.to_str().ok()?));
        let unstated = || plan.unary_response.then_some(plan.deadline.unwrap_or(self.process.default_deadline));
        let stated = stated.map(|time| if plan.unary_response { time.min(self.process.max_deadline) } else { time });
        // A caller may say a time that no clock holds.
        stated.or_else(unstated).and_then(|time| started.checked_add(time))
    }

    async fn answer(
        &self,
        plan: &Plan,
        call: &Call,
        mut request: Request<Body>,
        deadline: Option<Instant>,
    ) -> Result<Response<Body>, Problem> {
        if !is_grpc(request.headers()) {
            return Err(Problem::common(Reason::UnsupportedMediaType, "the content type must be application/grpc"));
        }
        let arrived = match self.arrived(plan, &mut request).await {
            Ok(arrived) => arrived,
            Err(problem) => return Box::pin(self.turned_away(call, problem)).await,
        };
        let _place = self.house.enter(plan.places, deadline).await?;
        let allowed = match self.admit(call, &mut request).await {
            Ok(allowed) => allowed,
            Err(problem) => return Box::pin(self.turned_away(call, problem)).await,
        };
        let window = match self.process.limiter.check(request.uri().path(), &subject(call, &allowed.caller)).await {
            Ok(window) => window,
            Err(limited) => return Ok(out_of_budget(limited)),
        };
        let stream = match plan.unary_response {
            true => None,
            // Boxed, so that the future of a unary call has no room for it.
            false => Some(Box::pin(self.streams.admit(&self.process.gate, &allowed, request.headers())).await?),
        };
        request.extensions_mut().insert(allowed.caller);
        if let Some(arrived) = &arrived {
            *request.body_mut() = checked(plan, arrived)?;
        }
        let Ok(mut response) = self.rpcs.call(request).await;
        if let Some(stream) = stream {
            response = stream.keep(response);
        }
        if allowed.degraded {
            response.headers_mut().insert("x-auth-degraded", HeaderValue::from_static("revocation"));
        }
        if let Some(window) = window {
            write_window(window, response.headers_mut());
        }
        Ok(response)
    }

    /// Refuses a call that no limit has counted. It costs the caller's address as much as an anonymous call, and when nothing
    /// is left that is what the caller hears: else whoever guesses tokens would do so without a limit. What is a part's
    /// fault, or the time's, costs nobody anything.
    async fn turned_away(&self, call: &Call, problem: Problem) -> Result<Response<Body>, Problem> {
        let theirs = matches!(problem.kind(), Kind::Unauthenticated | Kind::PermissionDenied | Kind::InvalidArgument);
        let Some(address) = call.client.filter(|_| theirs) else { return Err(problem) };
        match self.process.limiter.check_address(address).await {
            Ok(_) => Err(problem),
            Err(limited) => Ok(out_of_budget(limited)),
        }
    }

    /// Who calls, and whether they may.
    async fn admit(&self, call: &Call, request: &mut Request<Body>) -> Result<Allowed, Problem> {
        let decision =
            self.process.gate.decide_rpc(request.uri().path(), &HeaderView::Map(request.headers()), false).await;
        let allowed = match decision {
            Decision::Allow(allowed) => allowed,
            Decision::Deny(denied) => return Err(denied.into()),
        };
        if let Caller::User(user) = &allowed.caller {
            call.identify(user.user_id.to_string());
        }
        if let Some(client) = call.client {
            request.extensions_mut().insert(ClientAddress(client));
        }
        Ok(allowed)
    }

    /// The message of a call that has one, once all of it is here.
    async fn arrived(&self, plan: &Plan, request: &mut Request<Body>) -> Result<Option<Arrived>, Problem> {
        if !plan.unary_request {
            return Ok(None);
        }
        let body = std::mem::take(request.body_mut());
        let most = plan.max_bytes.unwrap_or(self.process.max_request_bytes);
        self.bodies.read(body, most).await.map(Some)
    }
}

/// The body for the handler: the message as it came, or without what only the server sets.
fn checked(plan: &Plan, arrived: &Arrived) -> Result<Body, Problem> {
    let unary = &arrived.unary;
    let rewritten = plan.rules.as_ref().map(|rules| rules.apply(&unary.message)).transpose()?.flatten();
    let frame = rewritten.map_or_else(|| unary.frame.clone(), |message| frame::write(&message));
    Ok(Body::new(http_body_util::Full::new(frame)))
}

/// Whom a rate limit counts.
fn subject(call: &Call, caller: &Caller) -> Subject {
    Subject {
        user: caller.user().map(|user| user.user_id),
        address: call.client,
        machine: matches!(caller, Caller::Machine(_)),
    }
}

fn out_of_budget(limited: Limited) -> Response<Body> {
    let mut refused = Status::from(Problem::from(limited)).into_http();
    write_window(limited.headers, refused.headers_mut());
    refused
}

/// The edge makes `RateLimit-*` of these.
fn write_window(window: LimitHeaders, headers: &mut HeaderMap) {
    headers.insert("ratelimit-limit", window.limit.into());
    headers.insert("ratelimit-remaining", window.remaining.into());
    headers.insert("ratelimit-reset", window.reset_secs.into());
}

/// gRPC-Web is the edge's to translate.
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) else { return false };
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_from_grpc_web() {
        for (kind, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_grpc(&headers), grpc, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
