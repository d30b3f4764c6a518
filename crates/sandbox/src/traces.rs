//! A collector of traces: it takes spans over OTLP/gRPC, as an OpenTelemetry collector does, and shows a trace as text.
//!
//! `POST …TraceService/Export` is what `otlp.endpoint` points to; `GET /_sandbox/traces` lists the last traces and
//! `GET /_sandbox/traces/{trace_id}` draws one, each span below the one that caused it. For looking at a mesh on one's own
//! machine: it keeps the last [`TRACES`] traces, of each at most [`SPANS`] spans, in memory.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path, State as Shared},
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::StatusCode;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value as Any,
    trace::v1::{Span, status::StatusCode as Ended},
};
use serde_json::{Value, json};
use tonic::{Request, Status};

use crate::state::State;

/// Traces that are kept; the oldest goes first.
const TRACES: usize = 500;
/// Spans that are kept of a trace.
const SPANS: usize = 1_000;
/// Levels that are indented.
const DEEP: usize = 40;
/// Attributes that are shown beside a span's name, when they say something.
const SHOWN: [&str; 3] = ["coreloop.outcome", "messaging.consumer.group.name", "http.response.status_code"];

/// What has been collected. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traces(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    spans: HashMap<Vec<u8>, Vec<Span>>,
    order: VecDeque<Vec<u8>>,
}

impl Traces {
    fn keep(&self, span: Span) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.spans.contains_key(&span.trace_id) {
            kept.order.push_back(span.trace_id.clone());
            if kept.order.len() > TRACES
                && let Some(oldest) = kept.order.pop_front()
            {
                kept.spans.remove(&oldest);
            }
        }
        let spans = kept.spans.entry(span.trace_id.clone()).or_default();
        if spans.len() < SPANS {
            spans.push(span);
        }
    }

    fn of(&self, trace_id: &[u8]) -> Vec<Span> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.spans.get(trace_id).cloned().unwrap_or_default()
    }

    /// The last traces, the newest first, each with its first span's name.
    fn list(&self) -> Vec<Value> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let described = |id: &Vec<u8>| {
            let spans = kept.spans.get(id)?;
            let first = spans.iter().min_by_key(|span| span.start_time_unix_nano)?;
            Some(json!({ "trace_id": hex::encode(id), "name": first.name, "spans": spans.len() }))
        };
        kept.order.iter().rev().filter_map(described).collect()
    }
}

#[tonic::async_trait]
impl TraceService for Traces {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            self.keep(span);
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The collector's routes: OTLP over gRPC, and what has been collected.
pub(crate) fn routes(state: &State) -> Router<Arc<State>> {
    Router::new()
        .route_service(
            "/opentelemetry.proto.collector.trace.v1.TraceService/{method}",
            TraceServiceServer::new(state.traces.clone()),
        )
        .route("/_sandbox/traces", get(list))
        .route("/_sandbox/traces/{trace_id}", get(show))
}

async fn list(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    Json(json!({ "traces": state.traces.list() }))
}

async fn show(Shared(state): Shared<Arc<State>>, Path(trace_id): Path<String>) -> Response {
    let spans = hex::decode(&trace_id).map(|id| state.traces.of(&id)).unwrap_or_default();
    if spans.is_empty() {
        return (StatusCode::NOT_FOUND, format!("no span of trace {trace_id:?} has come (yet)\n")).into_response();
    }
    draw(&spans).into_response()
}

/// A trace as a tree: when each span began after the first, how long it took, what it was.
fn draw(spans: &[Span]) -> String {
    let begin = spans.iter().map(|span| span.start_time_unix_nano).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.end_time_unix_nano).max().unwrap_or_default();
    let mut text = String::new();
    let id = spans.first().map(|span| hex::encode(&span.trace_id)).unwrap_or_default();
    let _infallible =
        writeln!(text, "trace {id}: {} spans in {:.1} ms", spans.len(), millis(end.saturating_sub(begin)));
    let _infallible = writeln!(text, "   begins      took");
    let known = |id: &[u8]| spans.iter().any(|span| span.span_id == id);
    let mut below: HashMap<&[u8], Vec<&Span>> = HashMap::new();
    for span in spans {
        let parent = span.parent_span_id.as_slice();
        // A span whose parent is elsewhere, as in the caller's own process, begins a tree.
        below.entry(if known(parent) && parent != span.span_id { parent } else { &[] }).or_default().push(span);
    }
    for spans in below.values_mut() {
        spans.sort_by_key(|span| span.start_time_unix_nano);
    }
    // Depth first, without recursion: what a stranger sends may be as deep as it likes.
    let mut waiting = Vec::new();
    caused(&mut waiting, below.get(&[][..]), 0);
    while let Some((span, depth)) = waiting.pop() {
        let at = millis(span.start_time_unix_nano - begin);
        let took = millis(span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano));
        let indent = "  ".repeat(depth.min(DEEP));
        let _infallible = writeln!(text, "{at:>9.1} {took:>9.1}  {indent}{}{}", span.name, remarks(span));
        caused(&mut waiting, below.get(span.span_id.as_slice()), depth + 1);
    }
    text
}

/// Puts spans where the first of them is taken next.
fn caused<'a>(waiting: &mut Vec<(&'a Span, usize)>, spans: Option<&Vec<&'a Span>>, depth: usize) {
    waiting.extend(spans.into_iter().flatten().rev().map(|span| (*span, depth)));
}

fn remarks(span: &Span) -> String {
    let said = |key: &str| {
        let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
        Some(match found.value.as_ref()?.value.as_ref()? {
            Any::StringValue(text) => text.clone(),
            Any::IntValue(number) => number.to_string(),
            _ => return None,
        })
    };
    let mut all: Vec<String> = SHOWN.iter().filter_map(|key| said(key)).collect();
    if let Some(code) = said("rpc.grpc.status_code").filter(|code| code != "0") {
        all.push(format!("code {code}"));
    }
    if span.status.as_ref().is_some_and(|status| status.code == Ended::Error as i32) {
        all.push("FAILED".to_owned());
    }
    if all.is_empty() { String::new() } else { format!("  [{}]", all.join(", ")) }
}

#[expect(clippy::cast_precision_loss, reason = "for people, to a tenth of a millisecond")]
fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use opentelemetry_proto::tonic::{
        collector::trace::v1::trace_service_client::TraceServiceClient,
        common::v1::{AnyValue, KeyValue},
        trace::v1::{ResourceSpans, ScopeSpans, Status as SpanStatus},
    };
    use tokio::net::TcpListener;

    use super::*;
    use crate::{Options, Sandbox};

    fn span(id: u8, parent: u8, name: &str, from: u64, to: u64) -> Span {
        let id_of = |id: u8| if id == 0 { Vec::new() } else { vec![id; 8] };
        Span {
            trace_id: vec![0xab; 16],
            span_id: id_of(id),
            parent_span_id: id_of(parent),
            name: name.to_owned(),
            start_time_unix_nano: from * 1_000_000,
            end_time_unix_nano: to * 1_000_000,
            ..Span::default()
        }
    }

    #[tokio::test]
    async fn a_trace_is_drawn_as_its_tree() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(Sandbox::serve(listener, Options::default()));
        let mut exporter = TraceServiceClient::connect(base.clone()).await.unwrap();
        let mut heard = span(3, 2, "process events.shop.purchase_completed", 1_020, 1_023);
        let value = AnyValue { value: Some(Any::StringValue("handled".to_owned())) };
        heard.attributes.push(KeyValue {
            key: "coreloop.outcome".to_owned(),
            value: Some(value),
            ..KeyValue::default()
        });
        let mut failed = span(4, 1, "coreloop.wallet.v1.WalletInternalService/Spend", 1_001, 1_002);
        failed.status = Some(SpanStatus { code: Ended::Error as i32, message: String::new() });
        // Out of order, and below a span of the caller's own.
        let spans =
            vec![heard, failed, span(2, 1, "shop", 1_003, 1_008), span(1, 9, "POST /api/shop/purchase", 1_000, 1_010)];
        let scopes = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans: scopes, ..ResourceSpans::default() }];
        exporter.export(ExportTraceServiceRequest { resource_spans }).await.unwrap();

        let id = "ab".repeat(16);
        let text = reqwest::get(format!("{base}/_sandbox/traces/{id}")).await.unwrap().text().await.unwrap();
        let expected = [
            &*format!("trace {id}: 4 spans in 23.0 ms"),
            "   begins      took",
            "      0.0      10.0  POST /api/shop/purchase",
            "      1.0       1.0    coreloop.wallet.v1.WalletInternalService/Spend  [FAILED]",
            "      3.0       5.0    shop",
            "     20.0       3.0      process events.shop.purchase_completed  [handled]",
            "",
        ];
        assert_eq!(text, expected.join("\n"));
        let list = reqwest::get(format!("{base}/_sandbox/traces")).await.unwrap().json::<Value>().await.unwrap();
        assert_eq!(list, json!({ "traces": [{ "trace_id": id, "name": "POST /api/shop/purchase", "spans": 4 }] }));
        let absent = reqwest::get(format!("{base}/_sandbox/traces/zz")).await.unwrap();
        assert_eq!(absent.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn the_oldest_trace_goes_first_and_a_long_one_stays_short() {
        let traces = Traces::default();
        for number in 0..=TRACES {
            let trace_id = number.to_be_bytes().to_vec();
            traces.keep(Span { trace_id, ..span(1, 0, "one", 0, 1) });
        }
        assert_eq!(traces.list().len(), TRACES);
        assert!(traces.of(&0_usize.to_be_bytes()).is_empty());
        for _ in 0..SPANS + 10 {
            traces.keep(span(1, 0, "many", 0, 1));
        }
        assert_eq!(traces.of(&[0xab; 16]).len(), SPANS);
    }
}
