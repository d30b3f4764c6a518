//! What the services of the mesh can recompute, and how they are asked: as a service asks a service.

use std::time::Duration;

use coreloop_core::{Problem, Reason};
use coreloop_ops_api::{
    host::refused,
    integrity::BEAT,
    v1::{ListChecksRequest, OpsReason, RunCheckRequest, integrity_service_client::IntegrityServiceClient},
};
use futures::future::join_all;
use tonic::{Code, Status};

use crate::{App, Error, peers::PATIENCE};

/// The check of ops itself.
pub const AUDIT: &str = "ops.audit";

/// Who says nothing for so long has died.
const SILENCE: Duration = Duration::from_secs(12 * BEAT.as_secs());

/// What a check answered.
pub type Answer = coreloop_ops_api::v1::IntegrityReport;

/// Every check that there is, by name; and the services that could not be asked.
pub async fn all(app: &App) -> (Vec<String>, Vec<String>) {
    let asked = app.links.names().into_iter().map(|service| async {
        let answer = of(app, &service).await;
        (service, answer)
    });
    let (mut checks, mut unreachable) = (Vec::new(), Vec::new());
    for (service, answer) in join_all(asked).await {
        match answer {
            Ok(found) => checks.extend(found),
            Err(error) => {
                tracing::warn!(service, %error, "a service could not be asked what it can check");
                unreachable.push(service);
            }
        }
    }
    checks.sort_unstable();
    (checks, unreachable)
}

/// The checks of one service; none of one that has no such thing.
async fn of(app: &App, service: &str) -> Result<Vec<String>, Status> {
    let ask = async {
        let request = app.peers.request(ListChecksRequest {}).await?;
        IntegrityServiceClient::new(app.peers.link(service)).list_checks(request).await
    };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Ok(answer)) => Ok(answer.into_inner().checks),
        Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(Vec::new()),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Problem::common(Reason::DeadlineExceeded, "no answer in time").into()),
    }
}

/// Has a check run by its service, however long it takes.
///
/// # Errors
/// `CHECK_UNKNOWN`; what the service says; one that falls silent.
pub async fn run(app: &App, check: &str) -> Result<Answer, Error> {
    let service = check.split('.').next().unwrap_or_default();
    if !app.links.knows(service) {
        return Err(refused(OpsReason::CheckUnknown, "no service of this mesh can recompute that").into());
    }
    let request = app.peers.request(RunCheckRequest { check: check.to_owned() }).await?;
    let begun = IntegrityServiceClient::new(app.peers.link(service)).run_check(request).await;
    let mut said = begun.map_err(unknown)?.into_inner();
    let mut report = None;
    // To its end: a stream that is dropped is a call that was cancelled, in its service's log and metrics.
    loop {
        match tokio::time::timeout(SILENCE, said.message()).await {
            Ok(Ok(Some(message))) => report = message.report.or(report),
            Ok(Ok(None)) => {
                return report.ok_or_else(|| Problem::internal("the check ended without a report").into());
            }
            Ok(Err(status)) => return Err(Error::Peer(Box::new(status))),
            Err(_) => return Err(Problem::internal("the service fell silent").into()),
        }
    }
}

fn unknown(status: Status) -> Error {
    match status.code() {
        Code::Unimplemented => refused(OpsReason::CheckUnknown, "the service has no checks").into(),
        _ => Error::Peer(Box::new(status)),
    }
}
