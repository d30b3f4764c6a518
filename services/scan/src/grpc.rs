//! The RPCs, a small group a file: parse, act, reply. This is only the table of contents.

use std::sync::Arc;

use coreloop_scan_api::v1::{
    self, scan_internal_service_server::ScanInternalService, scan_service_server::ScanService,
};
use tonic::{Request, Response, Status};

use crate::App;

pub mod tasks;
pub mod workers;

/// Serves `coreloop.scan.v1`.
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

delegate!(ScanService {
    classify => tasks::classify: ClassifyRequest -> ClassifyResponse;
    get_task => tasks::get_task: GetTaskRequest -> GetTaskResponse;
    list_history => tasks::list_history: ListHistoryRequest -> ListHistoryResponse;
    get_stats => tasks::get_stats: GetStatsRequest -> GetStatsResponse;
});

delegate!(ScanInternalService {
    pull_jobs => workers::pull_jobs: PullJobsRequest -> PullJobsResponse;
    submit_ai_result => workers::submit_ai_result: SubmitAiResultRequest -> SubmitAiResultResponse;
    find_by_image => workers::find_by_image: FindByImageRequest -> FindByImageResponse;
});
