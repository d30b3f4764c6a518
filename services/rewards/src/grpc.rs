//! The RPCs, a small group a file: parse, act, reply. This is only the table of contents.

use std::sync::Arc;

use coreloop_rewards_api::v1::{
    self, rewards_admin_service_server::RewardsAdminService, rewards_internal_service_server::RewardsInternalService,
    rewards_service_server::RewardsService,
};
use tonic::{Request, Response, Status};

use crate::App;

pub mod campaigns;
pub mod distribute;
pub mod parse;

/// Serves `coreloop.rewards.v1`.
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

delegate!(RewardsService {
    distribute => distribute::distribute: DistributeRequest -> DistributeResponse;
});

delegate!(RewardsAdminService {
    distribute_to => distribute::distribute_to: DistributeToRequest -> DistributeToResponse;
    put_campaign => campaigns::put_campaign: PutCampaignRequest -> PutCampaignResponse;
});

delegate!(RewardsInternalService {
    grant => distribute::grant: GrantRequest -> GrantResponse;
});
