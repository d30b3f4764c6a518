//! The RPCs, a small group a file: parse, act, reply. This is only the table of contents.

use std::sync::Arc;

use coreloop_wallet_api::v1::{
    self, wallet_admin_service_server::WalletAdminService, wallet_internal_service_server::WalletInternalService,
    wallet_service_server::WalletService,
};
use tonic::{Request, Response, Status};

use crate::App;

pub mod adjust;
pub mod batch;
pub mod find;
pub mod holds;
pub mod moves;
pub mod parse;
pub mod reads;
pub mod reverse;
pub mod verify;

/// Serves `coreloop.wallet.v1`.
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

delegate!(WalletService {
    get_balance => reads::get_balance: GetBalanceRequest -> GetBalanceResponse;
    list_balances => reads::list_balances: ListBalancesRequest -> ListBalancesResponse;
    list_entries => reads::list_entries: ListEntriesRequest -> ListEntriesResponse;
});

delegate!(WalletAdminService {
    adjust => adjust::adjust: AdjustRequest -> AdjustResponse;
});

delegate!(WalletInternalService {
    grant => moves::grant: GrantRequest -> GrantResponse;
    spend => moves::spend: SpendRequest -> SpendResponse;
    spend_many => moves::spend_many: SpendManyRequest -> SpendManyResponse;
    transfer => moves::transfer: TransferRequest -> TransferResponse;
    hold => holds::hold: HoldRequest -> HoldResponse;
    capture => holds::capture: CaptureRequest -> CaptureResponse;
    release => holds::release: ReleaseRequest -> ReleaseResponse;
    reverse => reverse::reverse: ReverseRequest -> ReverseResponse;
    post_batch => batch::post_batch: PostBatchRequest -> PostBatchResponse;
    get_balances => reads::get_balances: GetBalancesRequest -> GetBalancesResponse;
    find_postings => find::find_postings: FindPostingsRequest -> FindPostingsResponse;
    verify_integrity => verify::verify_integrity: VerifyIntegrityRequest -> VerifyIntegrityResponse;
});
