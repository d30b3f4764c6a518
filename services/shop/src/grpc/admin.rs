//! What administrators do: products, promo codes, settlement by hand.

use coreloop_access::Caller;
use coreloop_core::UserId;
use coreloop_facts::Act;
use coreloop_shop_api::v1::{self, Category, PromoKind, PurchaseState, ShopReason};
use jiff::Timestamp;
use serde_json::json;
use sqlx::PgConnection;
use tonic::{Request, Response};

use super::reads::found;
use crate::{
    App, Error,
    purchase::{Purchase, word},
    settle, store,
    store::{
        changes::{self, Change},
        payments::{self, Verdict},
    },
    time,
};

/// Writes a change down in its transaction, here and for the audit of the mesh; nothing where nothing changed.
async fn note(app: &App, conn: &mut PgConnection, change: &Change<'_>, now: Timestamp) -> Result<(), Error> {
    if !changes::note(conn, change, now).await? {
        return Ok(());
    }
    let act = Act {
        by: UserId(change.by),
        subject: change.subject,
        reason: change.reason,
        before: change.before.as_ref(),
        after: Some(&change.after),
    };
    Ok(app.acts.tell(conn, &act, now).await?)
}

/// `UpsertProduct`.
///
/// # Errors
/// `VALIDATION_FAILED` for what no product is.
pub async fn upsert_product(
    app: &App,
    request: Request<v1::UpsertProductRequest>,
) -> Result<Response<v1::UpsertProductResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let product = request.into_inner().product.unwrap_or_default();
    check(&product)?;
    let (id, now) = (product.product_id.as_str(), app.clock.now());
    let mut tx = coreloop_db::begin(&app.db).await?;
    let before = store::products::seen(&mut tx, id).await?;
    store::products::upsert(&mut tx, &product, now).await?;
    let after = store::products::seen(&mut tx, id).await?.unwrap_or_default();
    let change = Change { what: "product", subject: id, by: by.0, reason: "", before, after };
    note(app, &mut tx, &change, now).await?;
    tx.commit().await?;
    tracing::info!(product = id, by = %by, "a product was changed");
    let product = app.products.find(product.product_id).await?.map(|product| (*product).clone());
    Ok(Response::new(v1::UpsertProductResponse { product }))
}

fn check(product: &v1::Product) -> Result<(), Error> {
    let effect = product.effect.as_ref().is_some_and(|effect| !effect.code.is_empty());
    match product.category() {
        Category::Conversion if product.gold == 0 => return Err(Error::invalid("product.gold", "must be above zero")),
        Category::Conversion if effect => return Err(Error::invalid("product.effect", "is for items")),
        Category::Item if !effect => return Err(Error::invalid("product.effect", "must say what the item does")),
        Category::Item if product.gold > 0 => return Err(Error::invalid("product.gold", "is for conversions")),
        Category::Item if product.bonus > 0 => return Err(Error::invalid("product.bonus", "is for conversions")),
        _ => {}
    }
    window("product", product.starts_at.as_ref(), product.ends_at.as_ref())
}

fn window(of: &str, from: Option<&prost_types::Timestamp>, to: Option<&prost_types::Timestamp>) -> Result<(), Error> {
    let (starts, ends) = (format!("{of}.starts_at"), format!("{of}.ends_at"));
    time::check(&starts, from)?;
    time::check(&ends, to)?;
    match (from, to) {
        (Some(from), Some(to)) if time::read(from) >= time::read(to) => Err(Error::invalid(&ends, "must be later")),
        _ => Ok(()),
    }
}

/// `UpsertPromo`.
///
/// # Errors
/// `VALIDATION_FAILED` for what no code is.
pub async fn upsert_promo(
    app: &App,
    request: Request<v1::UpsertPromoRequest>,
) -> Result<Response<v1::UpsertPromoResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let mut promo = request.into_inner().promo.unwrap_or_default();
    if promo.kind() == PromoKind::Percent && promo.value > 99 {
        return Err(Error::invalid("promo.value", "must be 1 to 99 percents"));
    }
    window("promo", promo.starts_at.as_ref(), promo.ends_at.as_ref())?;
    let now = app.clock.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    let before = store::promos::seen(&mut tx, &promo.code).await?;
    let (used, max_uses) = store::promos::upsert(&mut *tx, &promo, now).await?;
    let after = store::promos::seen(&mut tx, &promo.code).await?.unwrap_or_default();
    let change = Change { what: "promo", subject: &promo.code, by: by.0, reason: "", before, after };
    note(app, &mut tx, &change, now).await?;
    tx.commit().await?;
    promo.used = used.try_into().unwrap_or(i32::MAX);
    promo.max_uses = max_uses.try_into().unwrap_or(i32::MAX);
    tracing::info!(code = promo.code, by = %by, "a promo code was changed");
    Ok(Response::new(v1::UpsertPromoResponse { promo: Some(promo) }))
}

/// `SettleTransaction`.
///
/// # Errors
/// `TRANSACTION_NOT_FOUND`; `TRANSACTION_SETTLED`.
pub async fn settle_transaction(
    app: &App,
    request: Request<v1::SettleTransactionRequest>,
) -> Result<Response<v1::SettleTransactionResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.into_inner();
    let purchase = found(app, &asked.receipt_id).await?;
    let state = asked.verdict();
    let verdict = Verdict {
        before: None,
        state,
        said_by: "operator",
        payment_id: "",
        reason: if state == PurchaseState::Voided { "OPERATOR" } else { "" },
        detail: "",
        next_at: time::later(app.clock.now(), app.options.lease_secs),
    };
    let shown = |row: &Purchase| json!({ "state": row.word(), "verdict": row.verdict.map(word) });
    let mut tx = coreloop_db::begin(&app.db).await?;
    // It may have moved since it was found.
    payments::lock(&mut tx, purchase.id).await?;
    let before = store::purchases::by_ids(&mut *tx, &[purchase.id]).await?.first().map(shown);
    let decided = payments::decide(&mut *tx, purchase.id, &verdict).await?;
    if let Some(decided) = &decided {
        let (id, reason, after) = (purchase.id.to_string(), asked.reason.as_str(), shown(decided));
        let change = Change { what: "settlement", subject: &id, by: by.0, reason, before, after };
        note(app, &mut tx, &change, app.clock.now()).await?;
    }
    tx.commit().await?;
    let decided = match decided {
        Some(decided) => decided,
        None => app.again(purchase.id).await?,
    };
    let same = decided.state == state || (!decided.is_over() && decided.verdict == Some(state));
    if decided.category() != Category::Conversion || !same {
        return Err(ShopReason::TransactionSettled.into());
    }
    tracing::info!(purchase = %purchase.id, by = %by, verdict = asked.verdict, reason = asked.reason, "settled by hand");
    let settled = settle::run(app, decided).await?;
    Ok(Response::new(v1::SettleTransactionResponse { transaction: Some(settled.transaction()) }))
}
