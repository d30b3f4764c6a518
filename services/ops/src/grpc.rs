//! The RPCs, one file each or a small group: parse, act, reply. This is only the table of contents.

use std::sync::Arc;

use coreloop_ops_api::v1::{self, ops_service_server::OpsService};
use tonic::{Request, Response, Status};

use crate::App;

pub mod dead_letters;

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
});
