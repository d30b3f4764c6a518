//! The two fronts and the service behind both, which answers what it was asked and tells what reached it.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Response, StatusCode, header},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use coreloop_core::id::SystemIds;
use coreloop_gateway::{Edge, Ground, Options};
use coreloop_limit::Limiter;
use coreloop_service::{Links, Metrics};
use coreloop_testkit::{Envoy, rpc};
use http_body_util::{BodyExt as _, Full};
use prost_reflect::{DynamicMessage, prost::Message as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::case::{Case, Outcome, Reply};
use crate::odd;

const SERVICE: &str = "coreloop.odd.v1.OddService";
const CONFIG: &str = include_str!("envoy.yaml");

/// What Envoy starts with: it refuses a `response_body` that is no HttpBody.
fn envoys_descriptors() -> Vec<u8> {
    let ours = odd::proto();
    let known = |line: &&str| !line.trim().starts_with("response_body:") || line.contains("\"file\"");
    let theirs: Vec<&str> = ours.lines().filter(known).collect();
    odd::compiled(&theirs.join("\n"))
}

/// What reached the service, by the mark of the request.
type Seen = Arc<Mutex<HashMap<String, Vec<(String, Value)>>>>;

/// Both fronts and their service.
pub(super) struct Stage {
    ours: SocketAddr,
    envoy: Envoy,
    seen: Seen,
    marks: AtomicUsize,
    _descriptors: TempDir,
}

impl Stage {
    pub(super) async fn set() -> Self {
        let seen = Seen::default();
        let service = serve(axum::Router::new().fallback(answer).with_state(Arc::clone(&seen))).await;
        let home = TempDir::new().unwrap();
        let descriptors = home.path().join("descriptors.binpb");
        std::fs::write(&descriptors, envoys_descriptors()).unwrap();
        let envoy = Envoy::start(|ports| {
            let marks = [
                ("{{port}}", ports.ingress.to_string()),
                ("{{admin}}", ports.admin.to_string()),
                ("{{service}}", service.port().to_string()),
                ("{{descriptors}}", descriptors.display().to_string()),
                ("{{name}}", SERVICE.to_owned()),
            ];
            marks.iter().fold(CONFIG.to_owned(), |text, (mark, value)| text.replace(mark, value))
        })
        .await;
        let ours = serve(axum::Router::new().fallback_service(edge(service))).await;
        Self { ours, envoy, seen, marks: AtomicUsize::new(0), _descriptors: home }
    }

    /// What becomes of a request at our edge and at Envoy.
    pub(super) async fn ask(&self, case: &Case) -> (Outcome, Outcome) {
        futures::join!(self.at(self.ours, case), self.at(self.envoy.address(), case))
    }

    /// What becomes of it at our edge alone.
    pub(super) async fn ask_us(&self, case: &Case) -> Outcome {
        self.at(self.ours, case).await
    }

    async fn at(&self, front: SocketAddr, case: &Case) -> Outcome {
        let mark = format!("mark-{}", self.marks.fetch_add(1, Ordering::Relaxed));
        let bytes = exchange(front, &case.wire(&mark)).await;
        let bytes = bytes.unwrap_or_else(|error| {
            panic!("{} to {front}, ours is {}: {error}; Envoy said {}", case.name(), self.ours, self.envoy.log())
        });
        let (status, head, body) = taken_apart(&bytes);
        let reached = self.seen.lock().unwrap().remove(&mark).unwrap_or_default();
        let is_json = head.contains("content-type: application/json");
        let reply = (status / 100 == 2).then(|| match serde_json::from_slice(&body) {
            Ok(json) if is_json => Reply::Json(json),
            _ => Reply::Other(String::from_utf8_lossy(&body).into_owned()),
        });
        Outcome { status, reached, reply }
    }
}

/// Our edge over the contract.
fn edge(service: SocketAddr) -> Edge {
    let links = Links::default();
    links.set_remote("odd", rpc::channel(&format!("http://{service}")));
    let ground = Ground {
        router: odd::router(),
        links,
        limiter: Arc::new(Limiter::new(&Default::default(), None, 1)),
        ids: Arc::new(SystemIds),
        metrics: Metrics::default(),
        stopping: tokio_util::sync::CancellationToken::new(),
    };
    Edge::new(Options::default(), ground).unwrap()
}

async fn serve(app: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// The service: answers a message of its own type as it came, and any other with one that is always the same.
async fn answer(State(seen): State<Seen>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let Some(method) = path.strip_prefix(&format!("/{SERVICE}/")).and_then(method) else {
        // A front that passes on what it does not translate.
        return Response::builder().status(StatusCode::NOT_FOUND).body(Body::empty()).unwrap();
    };
    let mark = parts.headers.get(header::AUTHORIZATION).map(|mark| mark.to_str().unwrap().to_owned());
    // Envoy begins the call before it has read the body, and breaks it off when the body is refused.
    let Ok(frame) = to_bytes(body, 16 << 20).await else { return Response::new(Body::empty()) };
    let message = frame.slice(frame.len().min(5)..);
    let told = match DynamicMessage::decode(method.input(), message.clone()) {
        // Fields may come in any order: those of a message that JSON cannot tell are put into one.
        Ok(read) => serde_json::to_value(&read)
            .unwrap_or_else(|error| json!(format!("not JSON: {error}; {}", hex(&read.encode_to_vec())))),
        Err(error) => json!(format!("no message: {error}; {}", hex(&message))),
    };
    seen.lock().unwrap().entry(mark.unwrap_or_default()).or_default().push((method.name().to_owned(), told));
    let reply = if method.output() == method.input() { message } else { fixed(&method.output()) };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let body = Full::new(framed(&reply)).with_trailers(std::future::ready(Some(Ok::<_, Infallible>(trailers))));
    Response::builder().header(header::CONTENT_TYPE, "application/grpc").body(Body::new(body)).unwrap()
}

fn method(name: &str) -> Option<prost_reflect::MethodDescriptor> {
    let service = odd::pool().get_service_by_name(SERVICE).unwrap();
    service.methods().find(|method| method.name() == name)
}

fn fixed(message: &prost_reflect::MessageDescriptor) -> Bytes {
    let json = match message.name() {
        "StringReply" => json!({
            "location": "/elsewhere", "inner": {"name": "n", "count": 3}, "inners": [{"name": "a"}, {"tags": ["b"]}],
            "counts": {"a": 1, "b": -2}, "file": {"contentType": "text/plain", "data": "aGk="},
        }),
        "Inner" => json!({"name": "n", "left": "l"}),
        _ => json!({}),
    };
    DynamicMessage::deserialize(message.clone(), json).unwrap().encode_to_vec().into()
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect()
}

/// Sends a request and reads its whole answer, not the silence after it.
async fn exchange(front: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(front).await?;
    // A front that refuses early may close while we still write: what it answered counts.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let mut piece = [0_u8; 16_384];
    while !complete(&bytes) {
        match tokio::time::timeout(Duration::from_secs(20), stream.read(&mut piece)).await {
            Ok(Ok(read)) if read > 0 => bytes.extend_from_slice(&piece[..read]),
            _ => break,
        }
    }
    Ok(bytes)
}

fn complete(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let (head, body) = (String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase(), &bytes[end + 4..]);
    match head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => head.contains("transfer-encoding: chunked") && body.ends_with(b"0\r\n\r\n"),
    }
}

/// Status, head in lower case, and body.
fn taken_apart(bytes: &[u8]) -> (u16, String, Vec<u8>) {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = if head.contains("transfer-encoding: chunked") { joined(&bytes[end..]) } else { bytes[end..].to_vec() };
    (status, head, body)
}

/// The chunks of a body as one.
fn joined(mut chunked: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = chunked.windows(2).position(|two| two == b"\r\n") {
        let size =
            std::str::from_utf8(&chunked[..end]).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let Some(size) = size.filter(|size| *size > 0 && end + 2 + size <= chunked.len()) else { break };
        whole.extend_from_slice(&chunked[end + 2..end + 2 + size]);
        chunked = chunked.get(end + 4 + size..).unwrap_or_default();
    }
    whole
}
