//! The shop and rewards: what is for sale, and asking for it, as people do, each with a token of their own.

use std::sync::Arc;

use coreloop_access::{
    Role,
    testing::Issuer,
    token::{Claims, Subject},
};
use coreloop_core::{SessionId, UserId};
use coreloop_rewards_api::v1::{RedeemRequest, RedeemResponse};
use coreloop_shop_api::v1::{self as shop, BuyLimitedRequest, BuyLimitedResponse, PurchaseRequest, PurchaseState};
use coreloop_testkit::{Rest, roles};
use prost::Message as _;
use serde_json::json;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::{
    ask,
    journal::{Act, Said},
};

/// What is for sale, as the database of every run has it: items of all sorts of stock, and what a vendor gives or refuses.
pub(crate) const GOODS: &str = "
    insert into shop.products (id, category, name, price, effect, effect_amount, per_user_limit, limit_once, updated_at) values
        ('trinket', 2, 'Trinket', 7, 'SPINS', 1, 0, false, 'epoch'), ('once', 2, 'Once', 9, 'XP_BOOST', 2, 0, true, 'epoch'),
        ('few', 2, 'Few', 5, 'SPINS', 1, 3, false, 'epoch'), ('some', 2, 'Some', 11, 'SPINS', 2, 0, false, 'epoch'),
        ('many', 2, 'Many', 60, 'STREAK_SHIELD', 1, 0, false, 'epoch');
    insert into shop.stock (product_id, total) values ('few', 30), ('some', 60), ('many', 2000);
    insert into shop.products (id, category, name, price, effect, effect_amount, updated_at)
        select 'last-' || n, 2, 'Last', 5, 'SPINS', 1, 'epoch' from generate_series(0, 199) n;
    insert into shop.stock (product_id, total) select 'last-' || n, 1 from generate_series(0, 199) n;
    insert into rewards.inventory (sku, title, description, vendor_sku, price, stock, state, updated_at, updated_by) values
        ('coffee', 'Coffee', '', 'coffee-5000', 8, 100000, 1, 'epoch', 'prove'),
        ('rare', 'Rare', '', 'rare-1', 4, 40, 1, 'epoch', 'prove'),
        ('tea', 'Tea', '', 'refused-tea', 6, 3, 1, 'epoch', 'prove');
    create table witness.shelf as select sku, stock from rewards.inventory";

/// Products of which there is one piece each: `last-0` and on.
pub(crate) const LAST: u32 = 200;
/// Products that are sold as limited packages, plain items, and conversions.
pub(crate) const LIMITED: [&str; 3] = ["few", "some", "many"];
pub(crate) const ITEMS: [&str; 3] = ["trinket", "trinket", "once"];
pub(crate) const CONVERSIONS: [&str; 2] = ["gold-100", "gold-500"];
/// What a conversion is paid with says what becomes of it (`crates/sandbox/src/payment.rs`).
pub(crate) const HANDLES: [&str; 6] = ["card", "card", "late", "lost", "void", "refused"];
/// What is had for points.
pub(crate) const REWARDS: [&str; 4] = ["coffee", "coffee", "rare", "tea"];

/// The way to both.
#[derive(Debug, Clone)]
pub(crate) struct Market {
    /// A channel a replica of the shop.
    pub(crate) shops: Vec<Channel>,
    /// A channel a replica of rewards.
    pub(crate) rewards: Vec<Channel>,
    /// The payment service.
    pub(crate) payments: Rest,
    /// Who signs the tokens of people.
    pub(crate) issuer: Arc<Issuer>,
}

impl Market {
    /// Asks a replica.
    pub(crate) async fn ask(&self, replica: usize, key: &str, act: &Act) -> Said {
        let said = match act {
            Act::Buy { user, limited: true, product, .. } => self.limited(replica, user, product, key).await,
            Act::Buy { user, product, handle, .. } => self.buy(replica, user, (product, handle), key).await,
            Act::Redeem { user, sku } => self.redeem(replica, user, sku, key).await,
            Act::ChargeBack { purchase } => self.charge_back(purchase, key).await,
            _ => Err(Said::Unknown("nothing for the market".to_owned())),
        };
        said.unwrap_or_else(|said| said)
    }

    /// A token of now.
    fn bearer(&self, user: &str) -> String {
        let id = user.parse().unwrap_or(Uuid::nil());
        let subject = Subject::User { id: UserId(id), session: SessionId(id) };
        let claims = Claims { subject, ..self.issuer.access(roles::unix_now(), &[Role::Standard]) };
        format!("Bearer {}", self.issuer.user_ec.sign(&claims).unwrap_or_default())
    }

    fn shop(&self, replica: usize) -> &Channel {
        &self.shops[replica % self.shops.len()]
    }

    async fn buy(&self, replica: usize, user: &str, what: (&str, &str), key: &str) -> Result<Said, Said> {
        let asked = PurchaseRequest {
            product_id: what.0.to_owned(),
            idempotency_key: key.to_owned(),
            payment_handle: what.1.to_owned(),
            ..PurchaseRequest::default()
        };
        let path = "/coreloop.shop.v1.ShopService/Purchase";
        let answer: shop::PurchaseResponse =
            ask::call(self.shop(replica), path, &self.bearer(user), &asked.encode_to_vec()).await?;
        Ok(Said::Taken { id: answer.transaction_id, state: answer.status })
    }

    async fn limited(&self, replica: usize, user: &str, product: &str, key: &str) -> Result<Said, Said> {
        let asked = BuyLimitedRequest {
            package_id: product.to_owned(),
            idempotency_key: key.to_owned(),
            ..BuyLimitedRequest::default()
        };
        let path = "/coreloop.shop.v1.ShopService/BuyLimited";
        let answer: BuyLimitedResponse =
            ask::call(self.shop(replica), path, &self.bearer(user), &asked.encode_to_vec()).await?;
        let purchase = answer.purchase.unwrap_or_default();
        Ok(Said::Taken { id: purchase.transaction_id, state: purchase.status })
    }

    async fn redeem(&self, replica: usize, user: &str, sku: &str, key: &str) -> Result<Said, Said> {
        let asked = RedeemRequest { sku: sku.to_owned(), idempotency_key: key.to_owned() };
        let path = "/coreloop.rewards.v1.RewardsService/Redeem";
        let channel = &self.rewards[replica % self.rewards.len()];
        let answer: RedeemResponse = ask::call(channel, path, &self.bearer(user), &asked.encode_to_vec()).await?;
        let redemption = answer.redemption.unwrap_or_default();
        Ok(Said::Taken { id: redemption.redemption_id, state: redemption.state })
    }

    /// Has the payment service take a payment back and say so; who says it again is told that it was heard.
    async fn charge_back(&self, purchase: &str, key: &str) -> Result<Said, Said> {
        let unknown = |why: &str| Said::Unknown(why.to_owned());
        let paths = "/_sandbox/payments";
        let known = self.payments.get(&format!("{paths}?reference={purchase}")).within(ask::DEADLINE).try_send().await;
        let known = known.map_err(|error| Said::Unknown(format!("{error:#}")))?.json();
        let payment = known["payments"][0]["payment_id"].as_str().ok_or_else(|| unknown("no such payment"))?;
        let decision = json!({ "status": "voided", "reason": "CHARGED_BACK", "event_id": key });
        let told = self.payments.post(&format!("{paths}/{payment}"), &decision).within(ask::DEADLINE).try_send().await;
        let told = told.map_err(|error| Said::Unknown(format!("{error:#}")))?.json();
        match told["webhooks"][0]["status"].as_u64() {
            Some(200 | 409) => Ok(Said::Taken { id: purchase.to_owned(), state: PurchaseState::Voided.into() }),
            _ => Err(unknown(&told.to_string())),
        }
    }
}
