//! Somebody says that they are at a shop.

use coreloop_eventing::Facts;
use coreloop_facts::v1::LocationVisited;
use coreloop_location_api::v1::LocationReason;
use jiff::{Timestamp, civil::Date};
use uuid::Uuid;

use crate::{
    App, Error,
    error::forgotten,
    globe::Point,
    store::{owners, shops, visits},
    times::{day_of, micros, proto_time},
};

/// The visit of a day.
#[derive(Debug, Clone, Copy)]
pub struct Visited {
    /// Which.
    pub id: Uuid,
    /// The day, in UTC.
    pub day: Date,
    /// When it was noted.
    pub at: Timestamp,
    /// By this.
    pub counted: bool,
}

/// Notes a visit: the first of a user at a shop on a day, which is told; another is the same.
///
/// # Errors
/// `SHOP_NOT_FOUND`, `TOO_FAR`, `USER_WITHDRAWN`.
pub async fn visit(app: &App, user: Uuid, shop: Uuid, place: Point) -> Result<Visited, Error> {
    let known = shops::by_id(&app.db, shop).await?.ok_or(LocationReason::ShopNotFound)?;
    let away = place.distance_m(known.place());
    if away > f64::from(app.options.visit_m) {
        return Err(Error::TooFar(away));
    }
    let now = micros(app.clock.now());
    let (id, day) = (app.ids.uuid(), day_of(now));
    let mut tx = coreloop_db::begin(&app.db).await?;
    if !owners::hold(&mut tx, user).await? {
        return Err(LocationReason::UserWithdrawn.into());
    }
    if !visits::insert(&mut tx, id, (user, shop, day), now).await.map_err(forgotten)? {
        let first = visits::of_day(&mut *tx, (user, shop, day)).await?;
        let first = first.ok_or(Error::Corrupt("a visit that is there and is not"))?;
        return Ok(Visited { id: first.id, day, at: first.at.to_jiff(), counted: false });
    }
    let mut facts = Facts::new();
    let fact = LocationVisited {
        visit_id: id.to_string(),
        user_id: user.to_string(),
        shop_id: shop.to_string(),
        day: day.to_string(),
        occurred_at: Some(proto_time(now)),
    };
    facts.add(&*app.ids, user.to_string(), &fact)?;
    app.outbox.write(&mut tx, &facts, now).await?;
    tx.commit().await?;
    app.metrics.visits.inc();
    Ok(Visited { id, day, at: now, counted: true })
}
