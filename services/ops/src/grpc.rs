//! The RPCs, one file each or a small group: parse, act, reply. This is only the table of contents.

use std::sync::Arc;

use coreloop_access::Caller;
use coreloop_ops_api::v1::{self, ops_service_server::OpsService};
use tonic::{Request, Response, Status};

use crate::{App, Error};

pub mod audit;
pub mod dead_letters;
pub mod overview;
pub mod queues;
pub mod runs;

/// Serves `coreloop.ops.v1`.
#[derive(Debug, Clone)]
pub struct Grpc(pub Arc<App>);

macro_rules! delegate {
    ($trait:ident { $($rpc:ident => $handler:path : $request:ident -> $response:ident;)* }) => {
        #[tonic::async_trait]
        impl $trait for Grpc {
            $(
                async fn $rpc(&self, request: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                    Ok($handler(&self.0, request).await?)
                }
            )*
        }
    };
}

delegate!(OpsService {
    list_dead_letters => dead_letters::list_dead_letters: ListDeadLettersRequest -> ListDeadLettersResponse;
    inspect_dead_letter => dead_letters::inspect_dead_letter: InspectDeadLetterRequest -> InspectDeadLetterResponse;
    reprocess_dead_letters => dead_letters::reprocess_dead_letters: ReprocessDeadLettersRequest -> ReprocessDeadLettersResponse;
    discard_dead_letters => dead_letters::discard_dead_letters: DiscardDeadLettersRequest -> DiscardDeadLettersResponse;
    list_queues => queues::list_queues: ListQueuesRequest -> ListQueuesResponse;
    search_audit => audit::search_audit: SearchAuditRequest -> SearchAuditResponse;
    start_integrity_check => runs::start_integrity_check: StartIntegrityCheckRequest -> StartIntegrityCheckResponse;
    list_runs => runs::list_runs: ListRunsRequest -> ListRunsResponse;
    get_run => runs::get_run: GetRunRequest -> GetRunResponse;
    get_health => overview::get_health: GetHealthRequest -> GetHealthResponse;
    get_dashboard => overview::get_dashboard: GetDashboardRequest -> GetDashboardResponse;
});

/// The administrator who asks, as the audit names them.
fn actor<T>(request: &Request<T>) -> Result<String, Error> {
    Ok(Caller::of(request)?.require_user()?.user_id.to_string())
}

/// A filter that was left empty does not matter.
fn stated(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// The rows of a page, of one more than it takes; and whether there is more.
fn paged<T>(mut rows: Vec<T>, size: i64) -> (Vec<T>, bool) {
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    (rows, more)
}
