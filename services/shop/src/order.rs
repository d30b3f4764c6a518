//! What is asked of the shop: one purchase with its name and where it came from.

use std::sync::Arc;

use aws_lc_rs::digest;
use coreloop_core::UserId;
use coreloop_planted::{self as planted, Bug};
use coreloop_service::Call;
use coreloop_shop_api::v1::{Category, Product};
use uuid::Uuid;

/// By which way it is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `Purchase`.
    Plain,
    /// `BuyLimited`.
    Limited,
}

/// Trace and request of the call that asks, for the events and for whoever goes on with the purchase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Trace id.
    pub trace_id: String,
    /// W3C trace context.
    pub traceparent: String,
    /// Request id.
    pub request_id: String,
}

impl Origin {
    /// Of the call that runs.
    #[must_use]
    pub fn current() -> Self {
        Call::current().map_or_else(Self::default, |call| Self {
            trace_id: call.trace.trace_id_hex(),
            traceparent: call.trace.header(),
            request_id: call.request_id.to_str().unwrap_or_default().to_owned(),
        })
    }
}

/// What a caller sends.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Id of the product.
    pub product_id: String,
    /// Names the purchase among those of the user and the product.
    pub key: String,
    /// What the caller takes the product for.
    pub category: Option<Category>,
    /// Promo code, in capitals; empty: none.
    pub promo: String,
    /// What a conversion is paid with.
    pub payment_handle: String,
    /// The installation.
    pub device_id: String,
}

/// A purchase that is to be.
#[derive(Debug, Clone)]
pub struct Order {
    /// Id: made of user, product and key, so that such a key is one purchase.
    pub id: Uuid,
    /// Who buys.
    pub user: UserId,
    /// What, as it is sold now.
    pub product: Arc<Product>,
    /// What was sent.
    pub asked: Asked,
    /// SHA-256 of what was sent, without the key and the device.
    pub body_hash: [u8; 32],
    /// Where it came from.
    pub origin: Origin,
}

impl Order {
    /// An order of the call that runs.
    #[must_use]
    pub fn new(user: UserId, product: Arc<Product>, asked: Asked, way: Way) -> Self {
        let id = id_of(user, &asked.product_id, &asked.key);
        let body_hash = body_hash(&asked, way);
        Self { id, user, product, asked, body_hash, origin: Origin::current() }
    }
}

/// The id of the purchase that user, product and key name.
#[must_use]
pub fn id_of(user: UserId, product_id: &str, key: &str) -> Uuid {
    let user = if planted::on(Bug::UnscopedKey) { String::new() } else { user.to_string() };
    uuid_of(&["purchase", &user, product_id, key])
}

/// A hash of what was sent. Each part is written with its length, so that no two bodies are the same text.
#[must_use]
pub fn body_hash(asked: &Asked, way: Way) -> [u8; 32] {
    let category = asked.category.map_or("", |category| category.as_str_name());
    let way = if way == Way::Limited { "limited" } else { "plain" };
    sha(&[way, &asked.product_id, category, &asked.promo, &asked.payment_handle])
}

/// An id made of a name.
#[must_use]
pub fn uuid_of(parts: &[&str]) -> Uuid {
    let hash = sha(parts);
    let bytes = hash.first_chunk::<16>().copied().unwrap_or_default();
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// SHA-256 over parts, each with its length: none can be read as another's end.
#[must_use]
pub fn sha(parts: &[&str]) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finish().as_ref().first_chunk::<32>().copied().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn user(number: u128) -> UserId {
        UserId(Uuid::from_u128(number))
    }

    #[test]
    fn a_key_names_a_purchase_of_one_user_and_one_product() {
        let id = id_of(user(1), "gold-100", "k");
        assert_eq!(id, id_of(user(1), "gold-100", "k"));
        for other in [id_of(user(2), "gold-100", "k"), id_of(user(1), "gold-500", "k"), id_of(user(1), "gold-100", "l")]
        {
            assert_ne!(id, other);
        }
        assert_ne!(id_of(user(1), "a", "bc"), id_of(user(1), "ab", "c"));
    }

    #[test]
    fn another_body_has_another_hash_and_another_key_or_device_has_not() {
        let asked = Asked { product_id: "gold-100".into(), key: "k".into(), ..Asked::default() };
        let hash = body_hash(&asked, Way::Plain);
        let same = Asked { key: "l".into(), device_id: "phone".into(), ..asked.clone() };
        assert_eq!(hash, body_hash(&same, Way::Plain));
        for other in [
            Asked { promo: "P".into(), ..asked.clone() },
            Asked { payment_handle: "P".into(), ..asked.clone() },
            Asked { category: Some(Category::Conversion), ..asked.clone() },
        ] {
            assert_ne!(hash, body_hash(&other, Way::Plain), "{other:?}");
        }
        assert_ne!(hash, body_hash(&asked, Way::Limited));
    }
}
