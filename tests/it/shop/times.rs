//! Times that are none, as gRPC lets them be sent: refused by their field, and nothing is written.

use coreloop_rewards_api::v1::{OfferState, PutCampaignRequest, RewardKind};
use coreloop_shop_api::v1::{Category, Effect, Product, Promo, PromoKind, UpsertProductRequest, UpsertPromoRequest};
use coreloop_testkit::{Persona, TestMesh, rpc, run};
use prost::Message;
use prost_types::Timestamp;
use tonic_types::StatusExt as _;

use super::stage::{MESH, own};

/// The field of a call that is refused for it.
async fn field(mesh: &TestMesh, admin: &Persona, (module, path): (&str, &str), asked: &impl Message) -> String {
    let bearer = format!("Bearer {}", admin.access_token);
    let path = format!("/coreloop.{module}.v1.{path}");
    let metadata = [("authorization", bearer.as_str())];
    let refused = rpc::call(&mesh.grpc(module), &path, &asked.encode_to_vec(), &metadata).await.unwrap_err();
    assert_eq!(rpc::reason(&refused), "VALIDATION_FAILED", "{refused:?}");
    let details = refused.get_error_details();
    details.bad_request().unwrap().field_violations.iter().map(|it| it.field.as_str()).collect::<Vec<_>>().join(",")
}

#[test]
fn times_that_are_none_are_refused() {
    run(async {
        let mesh = MESH.get().await;
        let (admin, thing) = (mesh.admin().await, own("thing"));
        let product = Product {
            product_id: thing.clone(),
            category: Category::Item.into(),
            name: "T".into(),
            price: 1,
            effect: Some(Effect { code: "THING".into(), amount: 1, duration_secs: 0 }),
            ..Product::default()
        };
        let promo = Promo { code: thing.to_uppercase(), kind: PromoKind::Percent.into(), value: 5, ..Promo::default() };
        let campaign = PutCampaignRequest {
            campaign_id: thing.clone(),
            kind: RewardKind::Point.into(),
            amount: 1,
            state: OfferState::Paused.into(),
            ..PutCampaignRequest::default()
        };
        for (seconds, nanos) in [
            (i64::MAX, 0),
            (i64::MIN, 0),
            (253_402_300_800, 0),
            // Before the year 1, which the database would refuse.
            (-62_135_596_801, 0),
            (-300_000_000_000, 0),
            (0, -1),
            (0, 1_000_000_000),
        ] {
            let at = Some(Timestamp { seconds, nanos });
            let wrong = UpsertProductRequest { product: Some(Product { starts_at: at, ..product.clone() }) };
            let upsert = ("shop", "ShopAdminService/UpsertProduct");
            assert_eq!(field(mesh, &admin, upsert, &wrong).await, "product.starts_at", "{at:?}");
            let wrong = UpsertProductRequest { product: Some(Product { ends_at: at, ..product.clone() }) };
            assert_eq!(field(mesh, &admin, upsert, &wrong).await, "product.ends_at", "{at:?}");
            let wrong = UpsertPromoRequest { promo: Some(Promo { ends_at: at, ..promo.clone() }) };
            let upsert = ("shop", "ShopAdminService/UpsertPromo");
            assert_eq!(field(mesh, &admin, upsert, &wrong).await, "promo.ends_at", "{at:?}");
            let wrong = PutCampaignRequest { ends_at: at, ..campaign.clone() };
            let put = ("rewards", "RewardsAdminService/PutCampaign");
            assert_eq!(field(mesh, &admin, put, &wrong).await, "ends_at", "{at:?}");
        }
        for (table, id) in [("shop.products", &thing), ("shop.promos", &promo.code), ("rewards.campaigns", &thing)] {
            let name = if table == "shop.promos" { "code" } else { "id" };
            assert_eq!(mesh.db.count(&format!("select count(*) from {table} where {name} = '{id}'")).await, 0);
        }
    });
}
