//! Facts of purchases (`proto/coreloop/event/v1/shop.proto`), as the outbox takes them.
//!
//! They are written by the statement that makes them true, many purchases at a time, so their JSON is made here; a test of
//! `tests/it/shop` reads each as what the contract says.

use coreloop_shop_api::v1::{Category, PurchaseState};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{order, purchase::Purchase};

/// A fact to write.
#[derive(Debug, Clone)]
pub struct Fact {
    /// Id: made of purchase and event, so that a fact is one however often it is written.
    pub id: Uuid,
    /// Key: the buyer.
    pub user: String,
    /// What happened, as `purchase_completed`.
    pub event: &'static str,
    /// As JSON.
    pub payload: Value,
}

fn fact(purchase: &Purchase, event: &'static str, payload: Value) -> Fact {
    Fact {
        id: order::uuid_of(&["fact", &purchase.id.to_string(), event]),
        user: purchase.user.to_string(),
        event,
        payload,
    }
}

fn update(purchase: &Purchase) -> Value {
    json!({
        "transaction_id": purchase.id.to_string(),
        "status": purchase.state.as_str_name(),
        "product_id": purchase.product.product_id,
        "gold_delta": purchase.gold_delta().to_string(),
        "reason": purchase.reason,
    })
}

/// What the user has, where it has just moved: what was given when it was begun is told by the wallet since then.
fn profile(purchase: &Purchase) -> Value {
    let moved = purchase.state != PurchaseState::Confirmed || !purchase.granting;
    purchase.balance.filter(|_| moved).map_or(Value::Null, |balance| json!({ "gold": balance.to_string() }))
}

/// It was written down.
#[must_use]
pub fn requested(purchase: &Purchase) -> Fact {
    let payload = json!({
        "user_id": purchase.user.to_string(),
        "purchase_update": update(purchase),
        "category": purchase.category().as_str_name(),
        "occurred_at": purchase.created_at.to_string(),
    });
    fact(purchase, "purchase_requested", payload)
}

/// It is over: one fact, or two.
#[must_use]
pub fn ended(purchase: &Purchase, now: Timestamp) -> (Fact, Option<Fact>) {
    let (user, at) = (purchase.user.to_string(), now.to_string());
    let settled = |event, owed: Option<i64>| {
        let mut payload = json!({
            "user_id": user,
            "purchase_update": update(purchase),
            "profile_update": profile(purchase),
            "payment_id": purchase.payment_id,
            "said_by": purchase.said_by,
            "occurred_at": at,
        });
        if let (Some(owed), Some(fields)) = (owed, payload.as_object_mut()) {
            fields.insert("owed".to_owned(), owed.to_string().into());
        }
        fact(purchase, event, payload)
    };
    match purchase.state {
        PurchaseState::Confirmed => {
            let effect = purchase.effect().map_or(Value::Null, |effect| {
                json!({
                    "code": effect.code,
                    "amount": effect.amount,
                    "duration_secs": effect.duration_secs,
                })
            });
            let payload = json!({
                "user_id": user,
                "purchase_update": update(purchase),
                "profile_update": profile(purchase),
                "category": purchase.category().as_str_name(),
                "effect": effect,
                "occurred_at": at,
            });
            let completed = fact(purchase, "purchase_completed", payload);
            if purchase.category() == Category::Conversion {
                (settled("settlement_confirmed", None), Some(completed))
            } else {
                (completed, None)
            }
        }
        PurchaseState::Voided => (settled("settlement_voided", Some(purchase.owed)), None),
        _ => {
            let payload = json!({
                "user_id": user,
                "purchase_update": update(purchase),
                "category": purchase.category().as_str_name(),
                "occurred_at": at,
            });
            (fact(purchase, "purchase_failed", payload), None)
        }
    }
}
