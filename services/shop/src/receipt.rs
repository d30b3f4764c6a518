//! Receipts: a hash of what was written when a purchase was over, and a signature of that hash.
//!
//! The hash alone tells a change by accident; the signature a change by somebody who can write to the database but has not
//! the secret. Both carry the version of how they were made, so that either can be replaced.

use aws_lc_rs::{digest, hmac};
use coreloop_shop_api::v1::PurchaseState;

use crate::{order::sha, purchase::Purchase};

/// How hashes are made now: SHA-256 of what was sold, for what, and what became of it.
pub const HASH_VERSION: i16 = 2;
/// How they were made before: of the product only its name for programs. They are verified as they are.
const FIRST: i16 = 1;

/// The proof of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// How the hash is made.
    pub hash_version: i16,
    /// Hash of the canonical fields.
    pub hash: Vec<u8>,
    /// Key of the signature.
    pub key_version: i32,
    /// HMAC-SHA256 over hash and versions.
    pub signature: Vec<u8>,
}

/// A key that receipts are signed with.
#[derive(Clone)]
pub struct Key {
    version: i32,
    key: hmac::Key,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Key {
    /// The key of a version: made of the secret and its salt.
    #[must_use]
    pub fn new(secret: &[u8], version: i32, salt: &[u8]) -> Self {
        let master = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut context = hmac::Context::with_key(&master);
        context.update(b"coreloop.shop.receipt");
        context.update(&version.to_be_bytes());
        context.update(salt);
        Self { version, key: hmac::Key::new(hmac::HMAC_SHA256, context.sign().as_ref()) }
    }

    /// Which.
    #[must_use]
    pub fn version(&self) -> i32 {
        self.version
    }

    /// The receipt of a purchase that is over.
    #[must_use]
    pub fn sign(&self, purchase: &Purchase) -> Receipt {
        self.sign_hash(HASH_VERSION, hash(purchase))
    }

    fn sign_hash(&self, hash_version: i16, hash: Vec<u8>) -> Receipt {
        let signature = hmac::sign(&self.key, &signed(hash_version, &hash, self.version)).as_ref().to_vec();
        Receipt { hash_version, hash, key_version: self.version, signature }
    }

    /// Whether the receipt was signed with this key, and says what the purchase says.
    #[must_use]
    pub fn fits(&self, purchase: &Purchase, receipt: &Receipt) -> bool {
        let hash = match receipt.hash_version {
            HASH_VERSION => hash(purchase),
            FIRST => first(purchase),
            _ => return false,
        };
        hash == receipt.hash && self.signed(receipt)
    }

    /// Whether the receipt was signed with this key, whatever it says.
    #[must_use]
    pub fn signed(&self, receipt: &Receipt) -> bool {
        let signed = signed(receipt.hash_version, &receipt.hash, receipt.key_version);
        // Compares in constant time.
        receipt.key_version == self.version && hmac::verify(&self.key, &signed, &receipt.signature).is_ok()
    }
}

fn signed(hash_version: i16, hash: &[u8], key_version: i32) -> Vec<u8> {
    [&hash_version.to_be_bytes()[..], &key_version.to_be_bytes(), hash].concat()
}

/// SHA-256 of the canonical fields, each with its length.
fn hash(purchase: &Purchase) -> Vec<u8> {
    let (product, effect) = (&purchase.product, purchase.product.effect.clone().unwrap_or_default());
    let closed = purchase.closed_at.map(|at| at.as_microsecond()).unwrap_or_default();
    let fields = [
        &purchase.id.to_string(),
        &purchase.user.to_string(),
        &product.product_id,
        product.category().as_str_name(),
        &product.name,
        &effect.code,
        &effect.amount.to_string(),
        &effect.duration_secs.to_string(),
        purchase.state.as_str_name(),
        &purchase.price.to_string(),
        &purchase.gold.to_string(),
        &purchase.bonus.to_string(),
        &purchase.promo,
        &purchase.gold_delta().to_string(),
        &purchase.owed.to_string(),
        &purchase.balance.map(|balance| balance.to_string()).unwrap_or_default(),
        &purchase.payment_id,
        &purchase.said_by,
        &purchase.reason,
        &closed.to_string(),
    ];
    sha(&fields).to_vec()
}

/// As [`hash`] of version 1. Each field is on a line of its own and none can hold a line's end: ids, numbers, and product ids,
/// which have a shape.
fn first(purchase: &Purchase) -> Vec<u8> {
    let closed = purchase.closed_at.map(|at| at.as_microsecond()).unwrap_or_default();
    let text = format!(
        "{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{closed}\n",
        purchase.id,
        purchase.user,
        purchase.product.product_id,
        purchase.product.category,
        PurchaseState::as_str_name(&purchase.state),
        purchase.price,
        purchase.gold_delta(),
        purchase.balance.map(|balance| balance.to_string()).unwrap_or_default(),
        purchase.payment_id.len(),
    );
    digest::digest(&digest::SHA256, format!("{text}{}", purchase.payment_id).as_bytes()).as_ref().to_vec()
}

/// Salt of a new key.
///
/// # Errors
/// When the machine has no randomness.
pub fn salt() -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
    let mut salt = vec![0; 32];
    aws_lc_rs::rand::fill(&mut salt)?;
    Ok(salt)
}

#[cfg(test)]
#[path = "receipt_tests.rs"]
mod tests;
