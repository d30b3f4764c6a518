//! `PutInventory`, `SetInventoryState`.

use coreloop_access::Caller;
use coreloop_rewards_api::v1::{self, RewardsReason};
use jiff_sqlx::ToSqlx as _;
use tonic::{Request, Response};

use super::parse::Violations;
use crate::{
    App, Error, acts,
    store::inventory::{self, Article},
    times::{parse, proto_time},
};

/// `PutInventory`.
///
/// # Errors
/// Fields that break their rules.
pub async fn put_inventory(
    app: &App,
    request: Request<v1::PutInventoryRequest>,
) -> Result<Response<v1::PutInventoryResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.into_inner();
    let (starts_at, ends_at) =
        (parse("starts_at", asked.starts_at.as_ref())?, parse("ends_at", asked.ends_at.as_ref())?);
    let mut wrong = Violations::default();
    if starts_at.zip(ends_at).is_some_and(|(starts, ends)| ends <= starts) {
        wrong.add("ends_at", "must be after starts_at");
    }
    wrong.none()?;
    let article = Article {
        sku: asked.sku,
        title: asked.title,
        description: asked.description,
        vendor_sku: asked.vendor_sku,
        price: asked.price,
        stock: 0,
        state: i16::try_from(asked.state).unwrap_or_default(),
        starts_at: starts_at.map(|at| at.to_sqlx()),
        ends_at: ends_at.map(|at| at.to_sqlx()),
    };
    let now = app.clock.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    let kept = inventory::put(&mut tx, &article, asked.stock, &format!("user:{by}"), now).await?;
    acts::changed(app, &mut tx, by, ("inventory", &kept.sku), now).await?;
    tx.commit().await?;
    tracing::info!(sku = kept.sku, stock = kept.stock, by = %by, "a reward was put in");
    Ok(Response::new(v1::PutInventoryResponse { article: Some(proto_article(kept)) }))
}

/// `SetInventoryState`.
///
/// # Errors
/// `REWARD_NOT_FOUND`.
pub async fn set_inventory_state(
    app: &App,
    request: Request<v1::SetInventoryStateRequest>,
) -> Result<Response<v1::SetInventoryStateResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.into_inner();
    let state = i16::try_from(asked.state).unwrap_or_default();
    let now = app.clock.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    let set = inventory::set_state(&mut tx, &asked.sku, state, &format!("user:{by}"), now).await?;
    let set = set.ok_or(RewardsReason::RewardNotFound)?;
    acts::changed(app, &mut tx, by, ("inventory", &set.sku), now).await?;
    tx.commit().await?;
    tracing::info!(sku = set.sku, state, by = %by, "a reward is offered or not");
    Ok(Response::new(v1::SetInventoryStateResponse { article: Some(proto_article(set)) }))
}

fn proto_article(article: Article) -> v1::Article {
    v1::Article {
        sku: article.sku,
        title: article.title,
        description: article.description,
        vendor_sku: article.vendor_sku,
        price: article.price,
        stock: article.stock,
        state: article.state.into(),
        starts_at: article.starts_at.map(|at| proto_time(at.to_jiff())),
        ends_at: article.ends_at.map(|at| proto_time(at.to_jiff())),
    }
}
