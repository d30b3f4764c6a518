//! The RPCs, a small group a file: parse, act, reply. This is only the table of contents.

use std::sync::Arc;

use coreloop_character_api::v1::{
    self, character_admin_service_server::CharacterAdminService,
    character_internal_service_server::CharacterInternalService, character_service_server::CharacterService,
};
use tonic::{Request, Response, Status};

use crate::App;

pub mod admin;
pub mod campaign;
pub mod catalogue;
pub mod evolving;
pub mod history;
pub mod mine;
pub mod ranking;
pub mod unlocking;

/// Serves `coreloop.character.v1`.
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

delegate!(CharacterService {
    get_catalog => catalogue::get_catalog: GetCatalogRequest -> GetCatalogResponse;
    get_mine => mine::get_mine: GetMineRequest -> GetMineResponse;
    list_history => history::list_history: ListHistoryRequest -> ListHistoryResponse;
    unlock => unlocking::unlock: UnlockRequest -> UnlockResponse;
    evolve => evolving::evolve: EvolveRequest -> EvolveResponse;
    receive_campaign => campaign::receive_campaign: ReceiveCampaignRequest -> ReceiveCampaignResponse;
    get_ranking => ranking::get_ranking: GetRankingRequest -> GetRankingResponse;
});

delegate!(CharacterAdminService {
    put_character => admin::put_character: PutCharacterRequest -> PutCharacterResponse;
    revoke_character => admin::revoke_character: RevokeCharacterRequest -> RevokeCharacterResponse;
});

delegate!(CharacterInternalService {
    get_owned => mine::get_owned: GetOwnedRequest -> GetOwnedResponse;
});
