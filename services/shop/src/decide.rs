//! Whether an order may be: the rules of chapter 03, on what was read under lock. Values in, values out.

use std::collections::HashMap;

use coreloop_shop_api::v1::{Category, PromoKind, ShopReason};
use uuid::Uuid;

use crate::{error::Refusal, fraud::Watch, order::Order, time};

/// What is known of a purchase that was written down before.
#[derive(Debug, Clone)]
pub struct Known {
    /// SHA-256 of what was asked.
    pub body_hash: Vec<u8>,
}

/// Pieces of a limited package.
#[derive(Debug, Clone, Copy)]
pub struct Stock {
    /// All that there are.
    pub total: i64,
    /// Sold or reserved.
    pub taken: i64,
}

/// A promo code.
#[derive(Debug, Clone)]
pub struct Promo {
    /// What it does.
    pub kind: PromoKind,
    /// Percents, or GOLD.
    pub value: i64,
    /// Times that it may be used in all; 0: no limit.
    pub max_uses: i64,
    /// Times that one may use it; 0: no limit.
    pub per_user: i64,
    /// Times that it was used.
    pub used: i64,
    /// Since when, in microseconds.
    pub from: i64,
    /// Until when, in microseconds.
    pub to: i64,
    /// For which products; empty: all.
    pub products: Vec<String>,
}

/// What was read under lock. Taking changes it, so that the next order of the batch sees what this one took.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Purchases by the ids of the orders.
    pub purchases: HashMap<Uuid, Known>,
    /// Stock by product.
    pub stock: HashMap<String, Stock>,
    /// What users have of limited products.
    pub holdings: HashMap<(Uuid, String), i64>,
    /// Promo codes.
    pub promos: HashMap<String, Promo>,
    /// How often users used them.
    pub uses: HashMap<(Uuid, String), i64>,
    /// Rules against fraud, and what they have counted.
    pub watch: Watch,
}

/// What is to be paid and given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What is to be paid.
    pub price: i64,
    /// GOLD that it gives.
    pub gold: i64,
    /// GOLD on top.
    pub bonus: i64,
    /// A piece of the stock was taken.
    pub took_stock: bool,
    /// A place among the user's was taken.
    pub took_holding: bool,
}

/// What becomes of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is written down.
    Opened(Terms),
    /// It was, by an earlier call with its key.
    Known,
    /// This rule against fraud refuses it, by its place; nothing was taken.
    Blocked(usize),
}

/// Most that one may buy of a product; 0: no limit.
#[must_use]
pub fn most(product: &coreloop_shop_api::v1::Product) -> i64 {
    if product.limit_once { 1 } else { product.per_user_limit.into() }
}

/// Decides, and takes what the order needs.
///
/// # Errors
/// The [`Refusal`]; nothing was taken. `None` for a key that named another request.
pub fn apply(loaded: &mut Loaded, order: &Order, now: jiff::Timestamp) -> Result<Decision, Option<Refusal>> {
    if let Some(known) = loaded.purchases.get(&order.id) {
        return if known.body_hash == order.body_hash { Ok(Decision::Known) } else { Err(None) };
    }
    let terms = terms(loaded, order, now).map_err(Some)?;
    // Last, so that only what else could have been is counted and noted.
    if let Some(rule) = loaded.watch.screen(order) {
        return Ok(Decision::Blocked(rule));
    }
    take(loaded, order, terms);
    loaded.watch.count(order);
    loaded.purchases.insert(order.id, Known { body_hash: order.body_hash.to_vec() });
    Ok(Decision::Opened(terms))
}

fn terms(loaded: &Loaded, order: &Order, now: jiff::Timestamp) -> Result<Terms, Refusal> {
    let product = &order.product;
    let (user, id) = (order.user.0, product.product_id.clone());
    if !product.active || !time::within(now, product.starts_at.as_ref(), product.ends_at.as_ref()) {
        return Err(ShopReason::NotOnSale.into());
    }
    let most = most(product);
    if most > 0 && loaded.holdings.get(&(user, id.clone())).copied().unwrap_or_default() >= most {
        let reason = if product.limit_once { ShopReason::AlreadyPurchased } else { ShopReason::LimitReached };
        return Err(Refusal { reason, detail: Some(("limit", most.to_string())) });
    }
    let took_stock = product.stock.is_some();
    if took_stock && loaded.stock.get(&id).is_none_or(|stock| stock.taken >= stock.total) {
        return Err(ShopReason::SoldOut.into());
    }
    let mut terms =
        Terms { price: product.price, gold: product.gold, bonus: product.bonus, took_stock, took_holding: most > 0 };
    if !order.asked.promo.is_empty() {
        discount(&mut terms, loaded, order, now)?;
    }
    Ok(terms)
}

fn discount(terms: &mut Terms, loaded: &Loaded, order: &Order, now: jiff::Timestamp) -> Result<(), Refusal> {
    let code = &order.asked.promo;
    let promo = loaded.promos.get(code).ok_or(ShopReason::PromoInvalid)?;
    let now = now.as_microsecond();
    let fits = promo.products.is_empty() || promo.products.contains(&order.product.product_id);
    let of_use = promo.kind == PromoKind::Percent || order.product.category() == Category::Conversion;
    if !fits || !of_use || now < promo.from || now >= promo.to {
        return Err(ShopReason::PromoInvalid.into());
    }
    let used = loaded.uses.get(&(order.user.0, code.clone())).copied().unwrap_or_default();
    if (promo.max_uses > 0 && promo.used >= promo.max_uses) || (promo.per_user > 0 && used >= promo.per_user) {
        return Err(ShopReason::PromoUsedUp.into());
    }
    match promo.kind {
        // What is left of a price is at least one: nothing is free by a code. Prices are a thousand million at most.
        PromoKind::Percent => terms.price = (terms.price - terms.price.saturating_mul(promo.value) / 100).max(1),
        _ => terms.bonus = terms.bonus.saturating_add(promo.value),
    }
    Ok(())
}

fn take(loaded: &mut Loaded, order: &Order, terms: Terms) {
    let id = &order.product.product_id;
    if terms.took_stock
        && let Some(stock) = loaded.stock.get_mut(id)
    {
        stock.taken += 1;
    }
    if terms.took_holding {
        *loaded.holdings.entry((order.user.0, id.clone())).or_default() += 1;
    }
    if let Some(promo) = loaded.promos.get_mut(&order.asked.promo) {
        promo.used += 1;
        *loaded.uses.entry((order.user.0, order.asked.promo.clone())).or_default() += 1;
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
