//! A purchase as it was written down, and what is answered of it.

use coreloop_shop_api::v1::{self, Category, PurchaseState, ShopReason};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    Error,
    error::{self, Refusal},
    order::Origin,
    receipt::Receipt,
    time,
};

/// A purchase.
#[derive(Debug, Clone)]
pub struct Purchase {
    /// Id; everything that moves for it is named by it.
    pub id: Uuid,
    /// Who bought.
    pub user: Uuid,
    /// SHA-256 of what was asked.
    pub body_hash: Vec<u8>,
    /// What, as it was sold.
    pub product: v1::Product,
    /// How far it is.
    pub state: PurchaseState,
    /// What is to be paid.
    pub price: i64,
    /// GOLD that a conversion gives, and on top of it.
    pub gold: i64,
    /// GOLD on top of it.
    pub bonus: i64,
    /// Promo code; empty: none.
    pub promo: String,
    /// What a conversion is paid with.
    pub payment_handle: String,
    /// The installation.
    pub device_id: String,
    /// What the payment service calls it.
    pub payment_id: String,
    /// What was decided and is not yet done.
    pub verdict: Option<PurchaseState>,
    /// Who decided.
    pub said_by: String,
    /// GOLD is given, or about to be, before the payment is decided.
    pub granting: bool,
    /// GOLD that is taken back where not all of it is there.
    pub claw: Option<i64>,
    /// Why it failed or was voided: a constant of ours.
    pub reason: String,
    /// What goes with the reason.
    pub detail: String,
    /// GOLD of the buyer afterwards.
    pub balance: Option<i64>,
    /// GOLD that could not be taken back.
    pub owed: i64,
    /// Proof, once it is confirmed or voided.
    pub receipt: Option<Receipt>,
    /// When it was written down.
    pub created_at: Timestamp,
    /// When it was over.
    pub closed_at: Option<Timestamp>,
    /// Times that it was looked after.
    pub tries: i32,
    /// Where it came from.
    pub origin: Origin,
}

impl Purchase {
    /// What it is a purchase of.
    #[must_use]
    pub fn category(&self) -> Category {
        self.product.category()
    }

    /// Nothing more happens to it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !matches!(self.state, PurchaseState::Created | PurchaseState::Pending)
    }

    /// GOLD that moved or will move.
    #[must_use]
    pub fn gold_delta(&self) -> i64 {
        match (self.category(), self.state) {
            (_, PurchaseState::Failed) => 0,
            (Category::Conversion, PurchaseState::Voided) => self.owed,
            (Category::Conversion, _) => self.gold.saturating_add(self.bonus),
            _ => -self.price,
        }
    }

    /// What the item does.
    #[must_use]
    pub fn effect(&self) -> Option<&v1::Effect> {
        self.product.effect.as_ref().filter(|effect| !effect.code.is_empty())
    }

    /// The state in a word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        word(self.state)
    }

    /// What its buyer is answered, each time the same once it is over.
    ///
    /// # Errors
    /// Why it failed; `IN_PROGRESS` while it runs.
    pub fn reply(&self, now: Timestamp) -> Result<v1::PurchaseResponse, Error> {
        match self.state {
            PurchaseState::Failed => return Err(self.refusal().into()),
            PurchaseState::Created | PurchaseState::Unspecified => {
                let since = now.duration_since(self.created_at);
                return Err(Error::in_progress(since.try_into().unwrap_or_default()));
            }
            PurchaseState::Pending | PurchaseState::Confirmed | PurchaseState::Voided => {}
        }
        let confirmed = self.state == PurchaseState::Confirmed;
        Ok(v1::PurchaseResponse {
            success: self.state != PurchaseState::Voided,
            status: self.state.into(),
            message: self.word().to_owned(),
            transaction_id: self.id.to_string(),
            product: Some(self.product.clone()),
            gold_delta: self.gold_delta(),
            balance: self.balance,
            reward: self.effect().filter(|_| confirmed).map(|effect| v1::Reward { effect: Some(effect.clone()) }),
            receipt: self.proof(),
        })
    }

    fn refusal(&self) -> Refusal {
        let reason = error::reason_of(&self.reason).unwrap_or(ShopReason::PaymentRefused);
        let name = match reason {
            ShopReason::InsufficientFunds => "available",
            _ => "payment_reason",
        };
        Refusal { reason, detail: (!self.detail.is_empty()).then(|| (name, self.detail.clone())) }
    }

    /// The receipt as the contract writes it.
    #[must_use]
    pub fn proof(&self) -> Option<v1::Receipt> {
        let receipt = self.receipt.as_ref()?;
        Some(v1::Receipt {
            receipt_id: self.id.to_string(),
            issued_at: self.closed_at.map(time::proto),
            hash_algo_version: receipt.hash_version.into(),
            integrity_hash: hex::encode(&receipt.hash),
            receipt_signature_version: receipt.key_version,
            receipt_signature: hex::encode(&receipt.signature),
        })
    }

    /// As the contract writes it.
    #[must_use]
    pub fn transaction(&self) -> v1::Transaction {
        v1::Transaction {
            transaction_id: self.id.to_string(),
            user_id: self.user.to_string(),
            product: Some(self.product.clone()),
            state: self.state.into(),
            reason: self.reason.clone(),
            gold_delta: self.gold_delta(),
            balance: self.balance,
            payment_id: self.payment_id.clone(),
            created_at: Some(time::proto(self.created_at)),
            receipt: self.proof(),
            owed: self.owed,
        }
    }
}

/// A state in a word.
#[must_use]
pub fn word(state: PurchaseState) -> &'static str {
    let name = state.as_str_name();
    name.strip_prefix("PURCHASE_STATE_").unwrap_or(name)
}
