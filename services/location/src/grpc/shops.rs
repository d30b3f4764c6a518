//! `ListShops`, `GetShop`, `SearchShops`: the same for everybody.

use std::sync::Arc;

use coreloop_location_api::v1::{self, LocationReason};
use tonic::{Request, Response};

use super::{id, place};
use crate::{
    App, Error,
    hours::{self, Hours},
    looking, nearby,
    shop::{Shop, crowd},
    store,
};

/// `ListShops`.
///
/// # Errors
/// When neither the provider nor the database answers.
pub async fn list_shops(
    app: &Arc<App>,
    request: Request<v1::ListShopsRequest>,
) -> Result<Response<v1::ListShopsResponse>, Error> {
    let asked = request.get_ref();
    let (place, radius) = (place(asked.lat, asked.lng)?, nearby::radius(asked.radius));
    let around = nearby::around(app, place, radius).await?;
    let now = app.clock.now();
    let shops = around.seen_from(place, radius).iter().map(|seen| seen.told(app, now)).collect();
    Ok(Response::new(v1::ListShopsResponse { source: around.source, shops }))
}

/// `GetShop`.
///
/// # Errors
/// `SHOP_NOT_FOUND`.
pub async fn get_shop(
    app: &Arc<App>,
    request: Request<v1::GetShopRequest>,
) -> Result<Response<v1::GetShopResponse>, Error> {
    let shop = id("shop_id", &request.get_ref().shop_id)?;
    let shop = store::shops::by_id(&app.db, shop).await?.ok_or(LocationReason::ShopNotFound)?;
    let now = app.clock.now();
    let visitors = nearby::visitors(app, &[shop.id], now).await;
    let visitors = visitors.map(|visitors| visitors.get(&shop.id).copied().unwrap_or_default());
    Ok(Response::new(v1::GetShopResponse {
        hours: Hours::parse(&shop.hours).map(|hours| hours.told()).unwrap_or_default(),
        open_state: hours::state(&shop.hours, now).into(),
        crowd: crowd(visitors, &app.options).into(),
        shop: Some(shop.told()),
    }))
}

/// `SearchShops`.
///
/// # Errors
/// Words that are none; when neither the provider nor the database answers.
pub async fn search_shops(
    app: &Arc<App>,
    request: Request<v1::SearchShopsRequest>,
) -> Result<Response<v1::SearchShopsResponse>, Error> {
    let found = looking::shops(app, &request.get_ref().q).await?;
    let shops = found.shops.iter().map(Shop::told).collect();
    Ok(Response::new(v1::SearchShopsResponse { source: found.source, shops }))
}
