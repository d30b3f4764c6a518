//! The RPCs, a small group a file: parse, act, reply. This is only the table of contents.

use std::sync::Arc;

use coreloop_shop_api::v1::{self, shop_admin_service_server::ShopAdminService, shop_service_server::ShopService};
use tonic::{Request, Response, Status};

use crate::App;

pub mod admin;
pub mod buy;
pub mod fraud;
pub mod owed;
pub mod reads;
pub mod receive;

/// Serves `coreloop.shop.v1`.
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

delegate!(ShopService {
    get_catalog => reads::get_catalog: GetCatalogRequest -> GetCatalogResponse;
    purchase => buy::purchase: PurchaseRequest -> PurchaseResponse;
    buy_limited => buy::buy_limited: BuyLimitedRequest -> BuyLimitedResponse;
    get_transaction => reads::get_transaction: GetTransactionRequest -> GetTransactionResponse;
    list_effects => reads::list_effects: ListEffectsRequest -> ListEffectsResponse;
    verify_receipt => reads::verify_receipt: VerifyReceiptRequest -> VerifyReceiptResponse;
    receive_payment => receive::receive_payment: ReceivePaymentRequest -> ReceivePaymentResponse;
});

delegate!(ShopAdminService {
    upsert_product => admin::upsert_product: UpsertProductRequest -> UpsertProductResponse;
    upsert_promo => admin::upsert_promo: UpsertPromoRequest -> UpsertPromoResponse;
    list_owed => owed::list_owed: ListOwedRequest -> ListOwedResponse;
    list_fraud_rules => fraud::list_fraud_rules: ListFraudRulesRequest -> ListFraudRulesResponse;
    upsert_fraud_rule => fraud::upsert_fraud_rule: UpsertFraudRuleRequest -> UpsertFraudRuleResponse;
    list_fraud_hits => fraud::list_fraud_hits: ListFraudHitsRequest -> ListFraudHitsResponse;
    excuse_from_fraud => fraud::excuse_from_fraud: ExcuseFromFraudRequest -> ExcuseFromFraudResponse;
    settle_transaction => admin::settle_transaction: SettleTransactionRequest -> SettleTransactionResponse;
});
