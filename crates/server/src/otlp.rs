//! Finished calls to an OTLP receiver, in batches, never in a call's way.
//!
//! Whether a trace is exported is decided where it ends, not where it begins: a failed call always is. One that did not fail is
//! when its caller asked for it (`traceparent` flag) or when its trace id falls in the sampled share, which every process
//! computes alike. Spans are made by the layers directly rather than through `tracing` spans, which would cost each call
//! more than its own work.

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    options::OtlpOptions,
    spans::{Span, Spans},
};

/// Spans that may wait; more are dropped rather than kept.
const QUEUE: usize = 4096;
const BATCH: usize = 512;
const EVERY: Duration = Duration::from_secs(1);

/// Exports spans.
pub(crate) struct Exporter {
    queue: mpsc::Sender<Span>,
    /// Trace ids below this are sampled.
    below: u64,
}

/// The task that sends.
pub(crate) struct Sending {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Sending {
    /// Sends what is left.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        let _ended_either_way = self.task.await;
    }
}

/// Starts exporting, when an endpoint is set.
pub(crate) fn start(
    options: &OtlpOptions,
) -> Result<Option<(Arc<Exporter>, Sending)>, opentelemetry_otlp::ExporterBuildError> {
    let Some(endpoint) = &options.endpoint else { return Ok(None) };
    let mut exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_millis(options.timeout_ms))
        .build()?;
    let resource = Resource::builder_empty()
        .with_service_name("coreloop")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    exporter.set_resource(&resource);
    let (queue, spans) = mpsc::channel(QUEUE);
    let stop = CancellationToken::new();
    let task = tokio::spawn(send(exporter, spans, stop.clone()));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of all ids; 0 to 1 is checked"
    )]
    let below = (options.ratio * u64::MAX as f64) as u64;
    Ok(Some((Arc::new(Exporter { queue, below }), Sending { task, stop })))
}

async fn send(exporter: SpanExporter, mut spans: mpsc::Receiver<Span>, stop: CancellationToken) {
    let mut batch = Vec::new();
    let mut failing = false;
    loop {
        let more = tokio::select! {
            more = spans.recv_many(&mut batch, BATCH) => more > 0,
            () = stop.cancelled() => false,
        };
        if !more {
            spans.close();
            while let Ok(span) = spans.try_recv() {
                batch.push(span);
            }
        }
        if !batch.is_empty() {
            let sent = exporter.export(batch.drain(..).map(data).collect()).await;
            if let Err(error) = &sent
                && !failing
            {
                tracing::warn!(%error, "traces cannot be exported");
            }
            failing = sent.is_err();
        }
        if !more {
            return;
        }
        // Fills the next batch; ends early at stop.
        tokio::select! {
            () = tokio::time::sleep(EVERY), if spans.len() < BATCH => {}
            () = stop.cancelled() => {}
            else => {}
        }
    }
}

impl Spans for Exporter {
    fn sample(&self, trace_id: [u8; 16]) -> bool {
        // The low half is the random one, also of ids that begin with a time.
        trace_id.last_chunk::<8>().is_some_and(|low| (u64::from_be_bytes(*low) << 2) < self.below)
    }

    fn take(&self, span: Span) {
        let _full_queue_drops = self.queue.try_send(span);
    }
}

fn data(span: Span) -> SpanData {
    let flags = if span.trace.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    let context = SpanContext::new(
        TraceId::from_bytes(span.trace.trace_id),
        SpanId::from_bytes(span.trace.span_id),
        flags,
        false,
        TraceState::NONE,
    );
    let target = &span.target;
    let ended = std::time::SystemTime::from(span.ended);
    let (name, attributes) = if span.grpc {
        let attributes = vec![
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.service", target.service.clone()),
            KeyValue::new("rpc.method", target.method.clone()),
            KeyValue::new("rpc.grpc.status_code", i64::from(span.code)),
        ];
        (format!("{}/{}", target.service, target.method), attributes)
    } else {
        let attributes = vec![
            KeyValue::new("http.request.method", target.method.clone()),
            KeyValue::new("url.path", target.path.clone()),
            KeyValue::new("http.response.status_code", i64::from(span.code)),
        ];
        (target.method.clone(), attributes)
    };
    SpanData {
        span_context: context,
        parent_span_id: span.trace.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: span.trace.parent.is_some(),
        span_kind: SpanKind::Server,
        name: name.into(),
        start_time: ended.checked_sub(span.took).unwrap_or(ended),
        end_time: ended,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if span.failed { Status::error("") } else { Status::Unset },
        instrumentation_scope: InstrumentationScope::builder("coreloop").build(),
    }
}
