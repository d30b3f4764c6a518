//! `Purchase`, `BuyLimited`.

use std::time::Duration;

use coreloop_access::Caller;
use coreloop_core::UserId;
use coreloop_db::deadline;
use coreloop_shop_api::v1::{self, Category, ShopReason};
use tokio::time::Instant;
use tonic::{Request, Response};

use crate::{
    App, Error,
    open::Opened,
    order::{Asked, Order, Way},
    payment::PAYMENTS,
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
    let objection = objection(app, &asked, &product, way);
    let order = Order::new(user, product, asked, way);
    let (id, body_hash) = (order.id, order.body_hash);
    if let Err(error) = objection {
        // A key that bought it when it was another product is answered as it was.
        let known = app.purchases.find(id).await?;
        return known.map_or(Err(error), |known| repeated(app, &known, &body_hash, way));
    }
    if !app.claims.take(&order).await
        && let Some(known) = app.purchases.find(id).await?
    {
        return repeated(app, &known, &body_hash, way);
    }
    match app.opening.open(order).await {
        Ok(Opened::New(purchase)) => {
            app.metrics.key(flow(way), "first");
            settle(app, *purchase).await
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

/// Why it cannot be bought so.
fn objection(app: &App, asked: &Asked, product: &v1::Product, way: Way) -> Result<(), Error> {
    if asked.category.is_some_and(|category| category != product.category()) {
        return Err(Error::invalid("type", "is not what the product is"));
    }
    let conversion = product.category() == Category::Conversion;
    // A limited conversion needs what it is paid with, which `BuyLimited` does not ask for.
    if way == Way::Limited && (product.stock.is_none() || conversion) {
        return Err(ShopReason::ProductNotFound.into());
    }
    if conversion && !app.payments.is_set() {
        return Err(Error::Away { part: PAYMENTS, said: "shop.payment.endpoint is not set".to_owned() });
    }
    Ok(())
}

/// Goes on with a purchase that this call has written down, as long as nobody else does.
async fn settle(app: &App, purchase: Purchase) -> Result<Purchase, Error> {
    let (id, tries, created_at) = (purchase.id, purchase.tries, purchase.created_at);
    let age = || Duration::try_from(app.clock.now().duration_since(created_at)).unwrap_or_default();
    let lease = Duration::from_secs(app.options.lease_secs.into());
    let until = Instant::now() + lease.saturating_sub(age()).saturating_sub(Duration::from_secs(1));
    let until = deadline::current().map_or(until, |callers| callers.min(until));
    let work = deadline::scope(until, settle::run(app, purchase));
    let outcome = tokio::time::timeout_at(until, work).await.unwrap_or_else(|_| Err(Error::in_progress(age())));
    if outcome.is_err() {
        // Whoever looks after what is open need not wait until this call's time is over.
        let soon = app.clock.now().saturating_add(jiff::SignedDuration::from_secs(1));
        let else_when_the_lease_ends = store::purchases::release(&app.db, id, tries, soon.unwrap_or_default()).await;
        tracing::debug!(purchase = %id, released = else_when_the_lease_ends.is_ok(), "is given on");
    }
    outcome
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
