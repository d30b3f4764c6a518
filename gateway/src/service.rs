//! What the edge itself answers (`coreloop.edge.v1.EdgeService`).

use bytes::Bytes;
use coreloop_core::{Problem, Reason, pb::google::api::HttpBody};
use coreloop_service::{Metrics, Readiness};
use tonic::{Request, Response, Status};

use crate::{
    describe,
    pb::{
        Component, GetDocsRequest, GetDocsResponse, GetLivenessRequest, GetLivenessResponse, GetMetricsRequest,
        GetMetricsResponse, GetOpenApiRequest, GetOpenApiResponse, GetReadinessRequest, GetReadinessResponse,
        edge_service_server::EdgeService,
    },
};

/// The edge's own RPCs.
pub(crate) struct Own {
    /// Serve the description.
    pub(crate) docs: bool,
    /// Tells whether requests can be served.
    pub(crate) readiness: Readiness,
    /// The metrics of the process.
    pub(crate) metrics: Metrics,
}

#[tonic::async_trait]
impl EdgeService for Own {
    async fn get_open_api(&self, _: Request<GetOpenApiRequest>) -> Result<Response<GetOpenApiResponse>, Status> {
        self.described()?;
        Ok(Response::new(GetOpenApiResponse { body: Some(body("application/json", describe::document())) }))
    }

    async fn get_docs(&self, _: Request<GetDocsRequest>) -> Result<Response<GetDocsResponse>, Status> {
        self.described()?;
        let page = body("text/html; charset=utf-8", Bytes::from_static(describe::PAGE));
        Ok(Response::new(GetDocsResponse { body: Some(page) }))
    }

    async fn get_liveness(&self, _: Request<GetLivenessRequest>) -> Result<Response<GetLivenessResponse>, Status> {
        Ok(Response::new(GetLivenessResponse { status: "ok".into(), version: env!("CARGO_PKG_VERSION").into() }))
    }

    async fn get_readiness(&self, _: Request<GetReadinessRequest>) -> Result<Response<GetReadinessResponse>, Status> {
        let parts = self.readiness.components().await;
        let away: Vec<_> = parts.iter().filter(|part| !part.ready()).map(|part| part.name.as_str()).collect();
        if !away.is_empty() {
            // Names of parts, never what is wrong with them: that is in the log.
            let problem = Problem::common(Reason::DependencyUnavailable, "not ready");
            return Err(problem
                .with("components", away.join(","))
                .retry_after(std::time::Duration::from_secs(1))
                .into());
        }
        let components = parts.into_iter().map(|part| Component { ready: part.ready(), name: part.name }).collect();
        Ok(Response::new(GetReadinessResponse { status: "ready".into(), components }))
    }

    async fn get_metrics(&self, _: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        let text = self.metrics.encode();
        let body = body("application/openmetrics-text; version=1.0.0; charset=utf-8", text.into());
        Ok(Response::new(GetMetricsResponse { body: Some(body) }))
    }
}

impl Own {
    fn described(&self) -> Result<(), Problem> {
        match self.docs {
            true => Ok(()),
            false => Err(Problem::common(Reason::NotFound, "the description is not served here")),
        }
    }
}

fn body(content_type: &str, data: Bytes) -> HttpBody {
    HttpBody { content_type: content_type.into(), data, extensions: Vec::new() }
}
