//! `Purchase`, `BuyLimited`.

use std::time::Duration;

use coreloop_access::Caller;
use coreloop_core::UserId;
use coreloop_shop_api::v1::{self, Category, ShopReason};
use tokio::time::Instant;
use tonic::{Request, Response};

use crate::{
    App, Error,
    open::Opened,
    order::{Asked, Order, Way},
    purchase::{Purchase, word},
    settle, store,
};

/// `Purchase`.
///
/// # Errors
/// As the contract lists.
pub async fn purchase(
    app: &App,
    request: Request<v1::PurchaseRequest>,
) -> Result<Response<v1::PurchaseResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let sent = request.into_inner();
    let asked = Asked {
        category: sent.r#type.and_then(|number| Category::try_from(number).ok()),
        product_id: sent.product_id,
        key: sent.idempotency_key,
        promo: sent.promo_code.trim().to_uppercase(),
        payment_handle: sent.payment_handle,
        device_id: sent.device_id,
    };
    bought(app, user, asked, Way::Plain).await.map(Response::new)
}

/// `BuyLimited`.
///
/// # Errors
/// As the contract lists.
pub async fn buy_limited(
    app: &App,
    request: Request<v1::BuyLimitedRequest>,
) -> Result<Response<v1::BuyLimitedResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let sent = request.into_inner();
    let asked = Asked {
        product_id: sent.package_id,
        key: sent.idempotency_key,
        promo: sent.promo_code.trim().to_uppercase(),
        device_id: sent.device_id,
        ..Asked::default()
    };
    let purchase = bought(app, user, asked, Way::Limited).await?;
    Ok(Response::new(v1::BuyLimitedResponse { purchase: Some(purchase) }))
}

/// Buys, answers and counts.
async fn bought(app: &App, user: UserId, asked: Asked, way: Way) -> Result<v1::PurchaseResponse, Error> {
    let began = Instant::now();
    let flow = flow(way);
    let outcome = match buy(app, user, asked, way).await {
        Ok(purchase) => purchase.reply(app.clock.now()),
        Err(error) => Err(error),
    };
    match &outcome {
        Ok(reply) => app.metrics.attempt(flow, "success", word(reply.status()), began.elapsed()),
        Err(error) => {
            let result = if matches!(error.outcome(), "failed" | "unknown") { "failed" } else { "refused" };
            app.metrics.attempt(flow, result, error.outcome(), began.elapsed());
        }
    }
    outcome
}

fn flow(way: Way) -> &'static str {
    if way == Way::Limited { "limited" } else { "purchase" }
}

async fn buy(app: &App, user: UserId, asked: Asked, way: Way) -> Result<Purchase, Error> {
    let product = app.products.find(asked.product_id.clone()).await?.ok_or(ShopReason::ProductNotFound)?;
    if asked.category.is_some_and(|category| category != product.category()) {
        return Err(Error::invalid("type", "is not what the product is"));
    }
    if way == Way::Limited && product.stock.is_none() {
        return Err(ShopReason::ProductNotFound.into());
    }
    if product.category() == Category::Conversion && !app.payments.is_set() {
        return Err(Error::Away { part: "the payment service", said: "shop.payment.endpoint is not set".to_owned() });
    }
    let order = Order::new(user, product, asked, way);
    let (id, body_hash) = (order.id, order.body_hash);
    if !app.claims.take(&order).await
        && let Some(known) = app.purchases.find(id).await?
    {
        return repeated(app, &known, &body_hash, way);
    }
    match app.opening.open(order).await {
        Ok(Opened::New(purchase)) => {
            app.metrics.key(flow(way), "first");
            let outcome = settle::run(app, *purchase).await;
            if outcome.is_err() {
                // Whoever looks after what is open need not wait until this call's time is over.
                let soon = app.clock.now().saturating_add(jiff::SignedDuration::from_secs(1));
                let at_the_latest_when_the_lease_ends =
                    store::purchases::release(&app.db, id, soon.unwrap_or_default()).await;
                tracing::debug!(purchase = %id, released = at_the_latest_when_the_lease_ends.is_ok(), "is given on");
            }
            outcome
        }
        Ok(Opened::Known) => repeated(app, &app.again(id).await?, &body_hash, way),
        Err(error) => {
            if error.outcome() == "IDEMPOTENCY_KEY_REUSED" {
                app.metrics.key(flow(way), "reused");
            }
            Err(error)
        }
    }
}

/// What another call with the key has come to.
fn repeated(app: &App, known: &Purchase, body_hash: &[u8], way: Way) -> Result<Purchase, Error> {
    if known.body_hash != body_hash {
        app.metrics.key(flow(way), "reused");
        return Err(Error::key_reused());
    }
    let running = known.state == v1::PurchaseState::Created;
    app.metrics.key(flow(way), if running { "running" } else { "repeat" });
    if running {
        let since = app.clock.now().duration_since(known.created_at);
        return Err(Error::in_progress(Duration::try_from(since).unwrap_or_default()));
    }
    Ok(known.clone())
}
