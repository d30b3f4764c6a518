//! A receiver of traces (OTLP over gRPC) that keeps what it is sent.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value,
    trace::v1::Span,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// A running receiver.
#[derive(Debug)]
pub struct OtlpReceiver {
    address: SocketAddr,
    spans: Spans,
    serving: JoinHandle<()>,
}

#[derive(Debug, Clone, Default)]
struct Spans(Arc<Mutex<Vec<Received>>>);

/// A span and the service that sent it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Value of the resource's `service.name`.
    pub service: String,
    /// The span as sent.
    pub span: Span,
}

impl Received {
    /// Trace id in hex.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl OtlpReceiver {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("address");
        let spans = Spans::default();
        let service = TraceServiceServer::new(spans.clone());
        let serving = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            let _ = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        Self { address, spans, serving }
    }

    /// Its address, for `otlp.endpoint`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All spans that have come so far.
    #[must_use]
    pub fn all(&self) -> Vec<Received> {
        self.spans.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The spans of a trace (id in hex) that have come so far.
    #[must_use]
    pub fn trace(&self, trace_id: &str) -> Vec<Received> {
        let spans = self.spans.0.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().filter(|received| received.trace_id() == trace_id).cloned().collect()
    }
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let name = attributes.into_iter().find(|attribute| attribute.key == "service.name");
            let service = match name.and_then(|attribute| attribute.value).and_then(|value| value.value) {
                Some(any_value::Value::StringValue(name)) => name,
                _ => String::new(),
            };
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            kept.extend(spans.map(|span| Received { service: service.clone(), span }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
