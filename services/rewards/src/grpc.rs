//! The RPCs, a small group a file: parse, act, reply. This is only the table of contents.

use std::sync::Arc;

use coreloop_rewards_api::v1::{
    self, rewards_admin_service_server::RewardsAdminService, rewards_internal_service_server::RewardsInternalService,
    rewards_service_server::RewardsService,
};
use tonic::{Request, Response, Status};

use crate::App;

pub mod ads;
pub mod campaigns;
pub mod catalogue;
pub mod distribute;
pub mod inventory;
pub mod parse;
pub mod redeem;

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
    list_rewards => catalogue::list_rewards: ListRewardsRequest -> ListRewardsResponse;
    redeem => redeem::redeem: RedeemRequest -> RedeemResponse;
    list_redemptions => redeem::list_redemptions: ListRedemptionsRequest -> ListRedemptionsResponse;
    get_redemption => redeem::get_redemption: GetRedemptionRequest -> GetRedemptionResponse;
    list_ads => ads::list_ads: ListAdsRequest -> ListAdsResponse;
    click_ad => ads::click_ad: ClickAdRequest -> ClickAdResponse;
});

delegate!(RewardsAdminService {
    distribute_to => distribute::distribute_to: DistributeToRequest -> DistributeToResponse;
    put_campaign => campaigns::put_campaign: PutCampaignRequest -> PutCampaignResponse;
    put_inventory => inventory::put_inventory: PutInventoryRequest -> PutInventoryResponse;
    set_inventory_state => inventory::set_inventory_state: SetInventoryStateRequest -> SetInventoryStateResponse;
    cancel_redemption => redeem::cancel_redemption: CancelRedemptionRequest -> CancelRedemptionResponse;
    put_ad => ads::put_ad: PutAdRequest -> PutAdResponse;
});

delegate!(RewardsInternalService {
    grant => distribute::grant: GrantRequest -> GrantResponse;
    get_ad_unlocks => ads::get_ad_unlocks: GetAdUnlocksRequest -> GetAdUnlocksResponse;
});
