//! Favourites of somebody.

use coreloop_location_api::v1::LocationReason;
use uuid::Uuid;

use crate::{
    App, Error,
    error::forgotten,
    store::{
        favorites::{self, Favorite},
        owners, shops,
    },
    times::micros,
};

/// Keeps a shop; one that is kept stays as it is.
///
/// # Errors
/// `SHOP_NOT_FOUND`, `TOO_MANY_FAVORITES`, `USER_WITHDRAWN`.
pub async fn keep(app: &App, user: Uuid, shop: Uuid) -> Result<Favorite, Error> {
    shops::by_id(&app.db, shop).await?.ok_or(LocationReason::ShopNotFound)?;
    let most = i64::from(app.options.favorites_per_user);
    let mut tx = coreloop_db::begin(&app.db).await?;
    if !owners::hold(&mut tx, user).await? {
        return Err(LocationReason::UserWithdrawn.into());
    }
    let kept = favorites::keep(&mut tx, (user, shop), most, micros(app.clock.now())).await;
    if !kept.map_err(forgotten)? {
        return Err(LocationReason::TooManyFavorites.into());
    }
    let kept = favorites::one(&mut *tx, user, shop).await?;
    tx.commit().await?;
    kept.ok_or(Error::Corrupt("a favourite that is there and is not"))
}

/// Removes a shop; one that is none stays none.
///
/// # Errors
/// When the database fails.
pub async fn remove(app: &App, user: Uuid, shop: Uuid) -> Result<(), Error> {
    favorites::remove(&app.db, user, shop).await?;
    Ok(())
}
