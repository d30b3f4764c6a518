//! What the tests stand on: a contract of their own, a peer that answers what it is told, the edge between.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, LazyLock, Mutex},
};

use axum::body::Body;
use bytes::{BufMut as _, Bytes, BytesMut};
use coreloop_core::id::SystemIds;
use coreloop_limit::Limiter;
use coreloop_service::{Answering, Call, Links, Local, Metrics, Target, Trace};
use coreloop_transcode::router::Router;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body as GrpcBody};
use tower::Service as _;

use crate::{Edge, Options, edge::Ground};

pub(super) const PROBE: &str = "/coreloop.probe.v1.ProbeService/";

/// What an anonymous address has a minute: so little that none comes back while a test runs.
pub(super) const BUDGET: u32 = 26;

/// The contract of the tests beside the committed option and http annotations.
pub(super) fn router() -> &'static Router {
    static ROUTER: LazyLock<Router> = LazyLock::new(|| Router::new(pool()).unwrap());
    &ROUTER
}

pub(super) fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests");
        let mut compiler =
            protox::Compiler::new([here.to_owned(), format!("{root}/proto"), format!("{root}/proto/third_party")])
                .unwrap();
        compiler.include_imports(true).open_files(["probe.proto", "google/rpc/error_details.proto"]).unwrap();
        DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
    });
    &POOL
}

/// One piece of the peer's reply.
#[derive(Clone)]
pub(super) enum Step {
    Message(Bytes),
    Trailers(HeaderMap),
    /// Answers nothing more and does not end.
    Hang,
    /// As the first: does not even begin to answer.
    Mute,
    /// A fault of the code that makes the stream.
    Panic,
}

/// What the peer was asked.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) message: Bytes,
}

/// What the fake service answers next: headers, then steps.
type Reply = (HeaderMap, Vec<Step>);

/// A peer in this process.
#[derive(Clone, Default)]
pub(super) struct Peer {
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
    /// Told when somebody who talked has ended.
    pub(super) silent: Arc<Notify>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
}

impl Peer {
    pub(super) fn answers(&self, steps: Vec<Step>) {
        self.answers_with(HeaderMap::new(), steps);
    }

    pub(super) fn answers_with(&self, headers: HeaderMap, steps: Vec<Step>) {
        self.replies.lock().unwrap().push_back((headers, steps));
    }

    pub(super) fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    pub(super) fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    async fn serve(self, request: Request<GrpcBody>) -> Result<Response<GrpcBody>, Infallible> {
        let (parts, body) = request.into_parts();
        let talks = parts.uri.path().ends_with("/Talk");
        if talks && self.replies.lock().unwrap().is_empty() {
            return Ok(self.echo(parts.uri.path(), parts.headers, body));
        }
        let body = match body {
            // It ends when the client does.
            _ if talks => Bytes::new(),
            body => match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(status) => return Ok(status.into_http()),
            },
        };
        let message = body.slice(body.len().min(5)..);
        let path = parts.uri.path().to_owned();
        self.seen.lock().unwrap().push(Seen { path, headers: parts.headers, message });
        let Some((headers, steps)) = self.replies.lock().unwrap().pop_front() else {
            return Ok(Status::unimplemented("the peer has no reply left").into_http());
        };
        if matches!(steps.first(), Some(Step::Mute)) {
            std::future::pending::<()>().await;
        }
        let frames = futures::stream::unfold(VecDeque::from(steps), |mut steps| async move {
            let frame = match steps.pop_front()? {
                Step::Message(message) => Frame::data(framed(&message)),
                Step::Trailers(trailers) => Frame::trailers(trailers),
                Step::Hang | Step::Mute => std::future::pending().await,
                Step::Panic => panic!("a fault of the stream"),
            };
            Some((Ok::<_, Status>(frame), steps))
        });
        let mut response = Response::new(GrpcBody::new(StreamBody::new(frames)));
        *response.headers_mut() = headers;
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        Ok(response)
    }
}

/// Told to [`Peer::silent`] when it goes.
struct Talking(Arc<Notify>);

impl Drop for Talking {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Peer {
    /// Says what it hears, as long as it hears something.
    fn echo(self, path: &str, asked: HeaderMap, body: GrpcBody) -> Response<GrpcBody> {
        self.seen.lock().unwrap().push(Seen { path: path.to_owned(), headers: asked, message: Bytes::new() });
        let talking = Talking(self.silent);
        let frames = futures::stream::unfold(Some((body, talking)), |talk| async move {
            let (mut body, talking) = talk?;
            let said = body.frame().await.and_then(|frame| frame.ok()?.into_data().ok());
            Some(match said {
                Some(data) => (Ok::<_, Status>(Frame::data(data)), Some((body, talking))),
                None => (Ok(Frame::trailers(headers(&[("grpc-status", "0")]))), None),
            })
        });
        let mut response = Response::new(GrpcBody::new(StreamBody::new(frames)));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        response
    }
}

pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

/// The edge, its peer and its metrics.
pub(super) struct Scene {
    pub(super) edge: Edge,
    pub(super) peer: Peer,
    pub(super) metrics: Metrics,
    pub(super) stopping: CancellationToken,
}

impl Scene {
    pub(super) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(super) fn with(options: Options) -> Self {
        let (peer, links, metrics, stopping) =
            (Peer::default(), Links::default(), Metrics::default(), CancellationToken::new());
        let served = peer.clone();
        let local =
            Local::new(tower::service_fn(move |request| -> Answering { Box::pin(served.clone().serve(request)) }));
        links.set_local("probe", local.clone());
        links.set_local("edge", local);
        let limits = coreloop_limit::Options { anonymous_per_minute: BUDGET, ..Default::default() };
        let ground = Ground {
            router: router(),
            links,
            limiter: Arc::new(Limiter::new(&limits, None, 1)),
            ids: Arc::new(SystemIds),
            metrics: metrics.clone(),
            stopping: stopping.clone(),
        };
        Self { edge: Edge::new(options, ground).unwrap(), peer, metrics, stopping }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Response<GrpcBody> {
        let Ok(response) = self.edge.clone().call(request).await;
        response
    }

    pub(super) async fn ask(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.send(request).await.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned();
        Answer { status: parts.status, headers: parts.headers, body: body.to_bytes(), trailers }
    }

    /// As [`Scene::ask`], by a client of this address.
    pub(super) async fn ask_from(&self, client: &str, request: Request<Body>) -> Answer {
        let trace = Trace::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let call = Call::new("id-1".parse().unwrap(), trace, Arc::new(Target::default()), client.parse().ok());
        Arc::new(call).scope(self.ask(request)).await
    }

    pub(super) async fn get(&self, target: &str) -> Answer {
        self.ask(Request::get(target).body(Body::empty()).unwrap()).await
    }
}

/// A whole reply.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{:?}", self.body))
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn reason(&self) -> String {
        let body = self.json();
        let mut details = body["details"].as_array().into_iter().flatten();
        details.find_map(|detail| detail["reason"].as_str()).unwrap_or_else(|| panic!("{body}")).to_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(super) fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
    list.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

/// A message of the contract as bytes.
pub(super) fn message(name: &str, json: Value) -> Bytes {
    let descriptor = pool().get_message_by_name(name).unwrap();
    DynamicMessage::deserialize(descriptor, json).unwrap().encode_to_vec().into()
}

/// A message of the contract as JSON.
pub(super) fn read(name: &str, bytes: &[u8]) -> Value {
    let descriptor = pool().get_message_by_name(name).unwrap();
    serde_json::to_value(DynamicMessage::decode(descriptor, bytes).unwrap()).unwrap()
}

pub(super) fn thing(name: &str, size: i32) -> Step {
    Step::Message(message("coreloop.probe.v1.Thing", serde_json::json!({"name": name, "size": size})))
}

pub(super) fn ok() -> Step {
    Step::Trailers(headers(&[("grpc-status", "0")]))
}

pub(super) fn failed(status: impl Into<Status>) -> Step {
    let mut trailers = HeaderMap::new();
    status.into().add_header(&mut trailers).unwrap();
    Step::Trailers(trailers)
}
