//! Finished calls to an OTLP receiver, in batches, never in a call's way.
//!
//! Whether a trace is exported is decided where it ends, not where it begins: a failed call always is. One that did not fail is
//! when its caller asked for it (`traceparent` flag) or, for a trace that begins here, when its id falls in the sampled share,
//! which every process computes alike. Failed calls wait in a queue of their own and go first, so that no rush of good ones
//! takes their room; what finds no room is counted. Spans are made by the layers directly rather than through `tracing`
//! spans, which would cost each call more than its own work.

use std::{sync::Arc, time::Duration};

use coreloop_service::{Ended, Span, Spans, Target};
use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanExporter, SpanLinks},
};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::options::OtlpOptions;

/// Spans of each kind that may wait; more are dropped rather than kept.
const QUEUE: usize = 4096;
const BATCH: usize = 512;
const EVERY: Duration = Duration::from_secs(1);

/// Takes spans for export.
pub(crate) struct Exporter {
    failed: mpsc::Sender<Span>,
    good: mpsc::Sender<Span>,
    /// A batch is full.
    full: Arc<Notify>,
    lost: Counter,
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
pub(crate) fn start(options: &OtlpOptions) -> Result<Option<(Arc<Exporter>, Sending)>, ExporterBuildError> {
    let Some(endpoint) = &options.endpoint else { return Ok(None) };
    let mut receiver = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_millis(options.timeout_ms))
        .build()?;
    let resource = Resource::builder_empty()
        .with_service_name("coreloop")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    receiver.set_resource(&resource);
    let (exporter, queues) = Exporter::new(options.ratio);
    let stop = CancellationToken::new();
    let task = tokio::spawn(queues.send(receiver, stop.clone()));
    Ok(Some((Arc::new(exporter), Sending { task, stop })))
}

impl Exporter {
    /// An exporter of the share `ratio` of traces, and what its spans wait in.
    fn new(ratio: f64) -> (Self, Queues) {
        let ((failed, failed_spans), (good, good_spans)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        let (full, lost) = (Arc::new(Notify::new()), Counter::default());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of all ids; 0 to 1 is checked"
        )]
        let below = (ratio * u64::MAX as f64) as u64;
        let queues = Queues { failed: failed_spans, good: good_spans, full: Arc::clone(&full), lost: lost.clone() };
        (Self { failed, good, full, lost, below }, queues)
    }
}

impl Spans for Exporter {
    fn sample(&self, trace_id: [u8; 16]) -> bool {
        // The low half is the random one, also of ids that begin with a time.
        trace_id.last_chunk::<8>().is_some_and(|low| (u64::from_be_bytes(*low) << 2) < self.below)
    }

    fn take(&self, span: Span) {
        let queue = if span.failed { &self.failed } else { &self.good };
        if queue.try_send(span).is_err() {
            self.lost.inc();
        }
        if QUEUE - queue.capacity() >= BATCH {
            self.full.notify_one();
        }
    }

    fn register(&self, registry: &mut Registry) {
        let help = "Spans that were not exported: the queue was full, or the receiver did not take them";
        registry.register("coreloop_spans_lost", help, self.lost.clone());
    }
}

/// Spans that wait to be sent.
struct Queues {
    failed: mpsc::Receiver<Span>,
    good: mpsc::Receiver<Span>,
    full: Arc<Notify>,
    lost: Counter,
}

impl Queues {
    /// Sends what has come every second, and at once when a batch is full, until it is stopped; then what is left.
    async fn send(mut self, receiver: impl SpanExporter, stop: CancellationToken) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.full.notified() => {}
                () = stop.cancelled() => {}
            }
            while let Some(batch) = self.batch() {
                let size = batch.len() as u64;
                let sent = receiver.export(batch).await;
                if let Err(error) = &sent {
                    self.lost.inc_by(size);
                    if !failing {
                        tracing::warn!(%error, "traces cannot be exported");
                    }
                }
                failing = sent.is_err();
                // Nobody waits at stop for a receiver that is away.
                if failing && stop.is_cancelled() {
                    break;
                }
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }

    /// The next batch, failed calls first; none when nothing waits.
    fn batch(&mut self) -> Option<Vec<SpanData>> {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Ok(span) = self.failed.try_recv().or_else(|_| self.good.try_recv())
        {
            batch.push(data(span));
        }
        (!batch.is_empty()).then_some(batch)
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
    let (name, kind, attributes) = named(target, span.outcome);
    SpanData {
        span_context: context,
        parent_span_id: span.trace.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: span.trace.parent.is_some(),
        span_kind: kind,
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

/// Name, kind and attributes, as the semantic conventions say for RPC, HTTP and messaging.
fn named(target: &Target, outcome: Ended) -> (String, SpanKind, Vec<KeyValue>) {
    match outcome {
        Ended::Grpc(code) => {
            let attributes = vec![
                KeyValue::new("rpc.system", "grpc"),
                KeyValue::new("rpc.service", target.service.clone()),
                KeyValue::new("rpc.method", target.method.clone()),
                KeyValue::new("rpc.grpc.status_code", i64::from(code)),
            ];
            (format!("{}/{}", target.service, target.method), SpanKind::Server, attributes)
        }
        Ended::Http(status) => {
            let attributes = vec![
                KeyValue::new("http.request.method", target.method.clone()),
                KeyValue::new("http.route", target.path.clone()),
                KeyValue::new("http.response.status_code", i64::from(status)),
            ];
            (format!("{} {}", target.method, target.path), SpanKind::Server, attributes)
        }
        Ended::Event(what) => {
            let attributes = vec![
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.destination.name", target.path.clone()),
                KeyValue::new("messaging.consumer.group.name", target.service.clone()),
                KeyValue::new("coreloop.outcome", what),
            ];
            (format!("process {}", target.path), SpanKind::Consumer, attributes)
        }
        Ended::Step(what) => {
            let attributes =
                vec![KeyValue::new("coreloop.step", target.method.clone()), KeyValue::new("coreloop.outcome", what)];
            (target.path.clone(), SpanKind::Internal, attributes)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use coreloop_service::Trace;
    use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
    use tokio::time::Instant;

    use super::*;

    /// A receiver that hands on what it is sent, or that is away.
    #[derive(Debug)]
    struct Receiver(Option<mpsc::UnboundedSender<Vec<SpanData>>>);

    impl SpanExporter for Receiver {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            let away = || OTelSdkError::InternalFailure("away".to_owned());
            self.0.as_ref().ok_or_else(away)?.send(batch).map_err(|_| away())
        }
    }

    fn span(failed: bool) -> Span {
        let trace = Trace { trace_id: [1; 16], span_id: [2; 8], parent: None, sampled: true };
        let target = Target { method: "GET".into(), path: "/users/{id}".into(), ..Target::default() };
        let (ended, took) = (jiff::Timestamp::UNIX_EPOCH, Duration::ZERO);
        Span { trace, target: Arc::new(target), ended, took, outcome: Ended::Http(200), failed }
    }

    #[test]
    fn a_span_is_named_by_the_template() {
        let data = data(span(true));
        assert_eq!((data.name.as_ref(), &data.status), ("GET /users/{id}", &Status::error("")));
        assert!(data.attributes.contains(&KeyValue::new("http.route", "/users/{id}")), "{:?}", data.attributes);
    }

    /// However many good ones wait: the failed one has room, and it goes first.
    #[test]
    fn a_failed_span_is_not_lost_behind_good_ones() {
        let (exporter, mut queues) = Exporter::new(1.0);
        for _ in 0..QUEUE + 10 {
            exporter.take(span(false));
        }
        assert_eq!(exporter.lost.get(), 10);
        exporter.take(span(true));
        assert_eq!(exporter.lost.get(), 10);
        let batch = queues.batch().unwrap();
        assert_eq!((batch.len(), &batch[0].status, &batch[1].status), (BATCH, &Status::error(""), &Status::Unset));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_is_sent_at_once_and_less_within_a_second() {
        let (exporter, queues) = Exporter::new(1.0);
        let (sender, mut sent) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let sending = tokio::spawn(queues.send(Receiver(Some(sender)), stop.clone()));
        let begin = Instant::now();
        exporter.take(span(false));
        assert_eq!(sent.recv().await.unwrap().len(), 1);
        assert_eq!(begin.elapsed().as_secs(), EVERY.as_secs());
        let begin = Instant::now();
        for _ in 0..BATCH {
            exporter.take(span(false));
        }
        assert_eq!(sent.recv().await.unwrap().len(), BATCH);
        assert_eq!(begin.elapsed(), Duration::ZERO);
        exporter.take(span(true));
        stop.cancel();
        sending.await.unwrap();
        assert_eq!(sent.recv().await.unwrap().len(), 1, "what is left is sent at stop");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_receiver_does_not_take_is_counted() {
        let (exporter, queues) = Exporter::new(1.0);
        for _ in 0..3 {
            exporter.take(span(true));
        }
        let stop = CancellationToken::new();
        stop.cancel();
        queues.send(Receiver(None), stop).await;
        assert_eq!(exporter.lost.get(), 3);
    }
}
