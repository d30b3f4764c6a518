//! `AddFavorite`, `ListFavorites`, `RemoveFavorite`: of the caller, and of nobody else.

use std::sync::Arc;

use coreloop_access::Caller;
use coreloop_core::page;
use coreloop_location_api::v1;
use jiff::Timestamp;
use tonic::{Request, Response};
use uuid::Uuid;

use super::id;
use crate::{
    App, Error, keeping,
    store::favorites::{Favorite, of_user},
    times::proto_time,
};

/// Name of the list in its page tokens.
const FAVORITES: &str = "location.favorites";

/// `AddFavorite`.
///
/// # Errors
/// `SHOP_NOT_FOUND`, `TOO_MANY_FAVORITES`, `USER_WITHDRAWN`.
pub async fn add_favorite(
    app: &Arc<App>,
    request: Request<v1::AddFavoriteRequest>,
) -> Result<Response<v1::AddFavoriteResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let kept = keeping::keep(app, user.0, id("shop_id", &request.get_ref().shop_id)?).await?;
    Ok(Response::new(v1::AddFavoriteResponse { favorite: Some(told(&kept)) }))
}

/// `ListFavorites`.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_favorites(
    app: &Arc<App>,
    request: Request<v1::ListFavoritesRequest>,
) -> Result<Response<v1::ListFavoritesResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.get_ref();
    let size = page::size(asked.page_size);
    let cursor: Option<(i64, Uuid)> = page::decode(FAVORITES, &asked.page_token)?;
    let before = cursor.and_then(|(at, id)| Some((Timestamp::from_microsecond(at).ok()?, id)));
    let mut rows = of_user(&app.db, user.0, before, size + 1).await?;
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| page::encode(FAVORITES, &(row.created_at.to_jiff().as_microsecond(), row.shop.id)));
    Ok(Response::new(v1::ListFavoritesResponse {
        favorites: rows.iter().map(told).collect(),
        next_page_token: next.unwrap_or_default(),
    }))
}

/// `RemoveFavorite`.
///
/// # Errors
/// When the database fails.
pub async fn remove_favorite(
    app: &Arc<App>,
    request: Request<v1::RemoveFavoriteRequest>,
) -> Result<Response<v1::RemoveFavoriteResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    keeping::remove(app, user.0, id("shop_id", &request.get_ref().shop_id)?).await?;
    Ok(Response::new(v1::RemoveFavoriteResponse {}))
}

fn told(favorite: &Favorite) -> v1::Favorite {
    let created_at = Some(proto_time(favorite.created_at.to_jiff()));
    v1::Favorite { shop: Some(favorite.shop.told()), created_at }
}
