//! `grpc.health.v1`: says what the readiness checks say, for the whole process or one service.

use std::{pin::Pin, time::Duration};

use coreloop_core::{Problem, Reason};
use futures::Stream;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

use crate::readiness::Checks;

/// Time between two looks for those who watch.
const LOOK: Duration = Duration::from_secs(1);

/// The health of one module.
#[derive(Clone)]
pub(crate) struct ModuleHealth {
    module: &'static str,
    services: Vec<String>,
    checks: Checks,
}

impl ModuleHealth {
    pub(crate) fn new(module: &'static str, services: Vec<String>, checks: Checks) -> Self {
        Self { module, services, checks }
    }

    async fn status(&self) -> ServingStatus {
        match self.checks.module_ready(self.module).await {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        }
    }

    fn knows(&self, service: &str) -> bool {
        service.is_empty() || service == self.module || self.services.iter().any(|name| name == service)
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for ModuleHealth {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.knows(&request.get_ref().service) {
            return Err(Problem::common(Reason::NotFound, "there is no such service here").into());
        }
        Ok(Response::new(response(self.status().await)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// Says each change, and lives on for a service that is not here (the protocol wants it so). It ends as every open
    /// stream does.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let known = self.knows(&request.get_ref().service);
        let begin = (self.clone(), None::<ServingStatus>);
        let stream = futures::stream::unfold(begin, move |(health, before)| async move {
            loop {
                let now = if known { health.status().await } else { ServingStatus::ServiceUnknown };
                if before != Some(now) {
                    return Some((Ok(response(now)), (health, Some(now))));
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }
}
