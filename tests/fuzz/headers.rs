//! Headers and frames: each reader by itself, and the edge as a whole for one input in so many.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::body::Body;
use coreloop_access::address::TrustedProxies;
use coreloop_core::id::SystemIds;
use coreloop_gateway::{Edge, Ground, Options};
use coreloop_limit::{Limiter, Options as Limits};
use coreloop_service::{Answering, Links, Local, Metrics, Trace, link};
use coreloop_transcode::options::Lang;
use http::{HeaderName, HeaderValue, Request};
use tower::Service as _;

use crate::{drive::fuzz, mutate::Random, odd};

const NAMES: &[&str] = &[
    "grpc-timeout",
    "traceparent",
    "tracestate",
    "baggage",
    "accept-encoding",
    "accept",
    "accept-language",
    "cookie",
    "x-forwarded-for",
    "x-envoy-external-address",
    "x-request-id",
    "idempotency-key",
    "if-none-match",
    "last-event-id",
    "content-type",
    "content-length",
    "content-encoding",
    "origin",
    "access-control-request-method",
    "authorization",
    "grpc-metadata-a",
    "grpc-metadata-b-bin",
    "te",
    "x-user-id",
    "grpc-accept-encoding",
    "grpc-encoding",
];
const WORDS: &[&[u8]] = &[
    b",",
    b";",
    b"=",
    b" ",
    b"\t",
    b"\"",
    b"q=",
    b"q=0",
    b"q=1e9",
    b"q=NaN",
    b"gzip",
    b"zstd",
    b"br",
    b"identity",
    b"*",
    b"00-",
    b"-01",
    b"ff-",
    b"4bf92f3577b34da6a3ce929d0e0e4736",
    b"00f067aa0ba902b7",
    b"H",
    b"M",
    b"S",
    b"m",
    b"u",
    b"n",
    b"99999999",
    b"-1",
    b"0",
    b"127.0.0.1",
    b"10.1.2.3",
    b"::1",
    b"[::1]:80",
    b"::ffff:1.2.3.4",
    b"unknown",
    b"W/\"",
    b"application/grpc",
    b"application/grpc-web-text",
    b"application/json",
    b"text/event-stream",
    b"ko-KR",
    b"en",
    b"\x00",
    b"\x80",
    b"\xff",
    b"\xea\xb0\x80",
    b"\x00\x00\x00\x00\x05",
    b"\x01\x00\x00\x00\x01",
    b"\xff\xff\xff\xff",
    b"AAAAAAA=",
    b"%zz",
];
const CORPUS: &[&[u8]] = &[
    b"10S",
    b"99999999H",
    b"150m",
    b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
    b"gzip, zstd;q=0.5, *;q=0",
    b"ko-KR, ko;q=0.9, en;q=0.5",
    b"203.0.113.7, 10.0.0.1, 127.0.0.1",
    b"2001:db8::1, unknown, [::1]:443",
    b"a=b; c=\"d\"; __Host-x=y",
    b"Bearer a.b.c",
    b"application/grpc-web+proto",
    b"W/\"abc\", \"def\"",
    b"\x00\x00\x00\x00\x03\x72\x01x",
    b"\x80\x00\x00\x00\x05abcde",
    b"AAAAAANyAXg=",
    b"c3RhdGU=",
    b"https://app.example",
];
/// One input in so many goes through the edge as a whole.
const WHOLE: usize = 40;

fn trusted() -> &'static TrustedProxies {
    static TRUSTED: LazyLock<TrustedProxies> =
        LazyLock::new(|| TrustedProxies::parse(&["127.0.0.0/8", "10.0.0.0/8", "::1/128"]).unwrap());
    &TRUSTED
}

/// Each reader alone; says whether one of them could read it.
fn readers(text: &str) -> bool {
    let timeout = link::parse_timeout(text);
    if let Some(timeout) = timeout {
        assert!(timeout <= Duration::from_secs(99_999_999 * 3_600));
        assert!(link::parse_timeout(&link::format_timeout(timeout)).is_some());
    }
    let trace = Trace::parse(text);
    if let Some(trace) = trace {
        let again = Trace::parse(&trace.header()).expect("what we write we read");
        assert_eq!((again.trace_id, again.span_id), (trace.trace_id, trace.span_id));
        assert!(text.contains(&trace.trace_id_hex()) && text.contains(&trace.span_id_hex()));
    }
    let peers: [IpAddr; 2] = [[127, 0, 0, 1].into(), [198, 51, 100, 1].into()];
    assert_eq!(trusted().client(peers[1], Some(text), [text].into_iter()), peers[1], "a stranger's header is believed");
    let client = trusted().client(peers[0], None, text.split('\t'));
    let lang = Lang::from_accept_language(Some(text));
    timeout.is_some() || trace.is_some() || client != peers[0] || lang.is_some()
}

/// The edge before a service that answers nothing.
fn edge() -> Edge {
    let links = Links::default();
    let nobody = tower::service_fn(|_| -> Answering {
        Box::pin(std::future::ready(Ok(tonic::Status::not_found("nobody").into_http())))
    });
    links.set_local("odd", Local::new(nobody));
    let ground = Ground {
        router: odd::router(),
        links,
        ids: Arc::new(SystemIds),
        limiter: Arc::new(Limiter::new(&Limits { enabled: false, ..Limits::default() }, None, 1)),
        metrics: Metrics::default(),
        stopping: tokio_util::sync::CancellationToken::new(),
    };
    Edge::new(Options::default(), ground).unwrap()
}

/// A request whose headers and body are made of the input.
fn whole(input: &[u8], random: &mut Random) -> Option<Request<Body>> {
    let grpc = ["application/grpc", "application/grpc-web+proto", "application/grpc-web-text"];
    let (target, kind) = match random.below(3) {
        0 => ("/v1/echo", "application/json"),
        1 => ("/v1/watch?name=x", "application/json"),
        _ => ("/coreloop.odd.v1.OddService/Echo", random.of(&grpc)),
    };
    let method = if target == "/v1/watch?name=x" { "GET" } else { "POST" };
    let mut request = Request::builder().method(method).uri(target).header("content-type", kind);
    for _ in 0..=random.below(4) {
        let from = random.below(input.len().max(1));
        let value = HeaderValue::from_bytes(input.get(from / 2..)?).ok()?;
        request = request.header(HeaderName::from_static(random.of(NAMES)), value);
    }
    request.body(Body::from(input.to_vec())).ok()
}

#[test]
fn headers_and_frames() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut edge = edge();
    let corpus = CORPUS.iter().map(|input| input.to_vec()).collect();
    fuzz("headers and frames", corpus, WORDS, |input, random| {
        let text = String::from_utf8_lossy(input);
        if random.one_in(WHOLE)
            && let Some(request) = whole(input, random)
        {
            let (method, target) = (request.method().clone(), request.uri().clone());
            let answer = runtime.block_on(async {
                let Ok(answer) = edge.call(request).await;
                let (parts, body) = answer.into_parts();
                let body = axum::body::to_bytes(Body::new(body), 1 << 20).await;
                (parts, body.map(|body| body.len()))
            });
            assert_ne!(answer.0.status.as_u16(), 500, "{method} {target}: {answer:?}");
        }
        readers(&text)
    });
}
