//! Buyers, the bank that gives them GOLD, and what the tables say.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use coreloop_access::{
    Role,
    testing::Issuer,
    token::{Claims, Subject},
};
use coreloop_core::{Ids as _, SessionId, UserId, id::SystemIds};
use coreloop_testkit::{Answer, Rest, Shared, TestMesh, mesh::Builder, rpc, wait::wait_for};
use coreloop_wallet_api::v1::{Currency, GrantRequest, SpendRequest};
use prost::Message;
use serde_json::{Value, json};
use tonic::Status;
use uuid::Uuid;

/// Who signs the tokens of buyers: signing up each of hundreds would take minutes.
static ISSUER: OnceLock<Arc<Issuer>> = OnceLock::new();

pub fn issuer() -> Arc<Issuer> {
    Arc::clone(ISSUER.get_or_init(|| Arc::new(Issuer::new().expect("keys"))))
}

/// A mesh of two replicas, each module in a process of its own, with the payment service. Whoever buys waits for a second less
/// than a lease: here as long as for anything, so that nothing is IN_PROGRESS because the machine has much else to do.
pub fn mesh() -> Builder {
    TestMesh::builder()
        .split()
        .replicas(2)
        .stand_ins()
        .issuer(issuer())
        // Buyers of tests buy faster than people.
        .setting("limit.enabled", false)
        .setting("shop.lease_secs", 30_i64)
        .setting("shop.payment.timeout_ms", 9_000_i64)
        .setting("shop.payment.poll_secs", 1_i64)
        .setting("shop.payment.poll_most_secs", 1_i64)
}

/// As [`mesh`], but what is interrupted is taken up by others soon: as soon as is shipped, for buyers wait no longer.
pub fn hasty() -> Builder {
    mesh().setting("shop.lease_secs", 10_i64)
}

/// The one that tests share: each has buyers and products of its own.
pub static MESH: Shared<TestMesh> = Shared::new(|| Box::pin(mesh().start()));

/// For what was interrupted on a machine that is too busy; that it takes no longer than M7 says is `promises::sagas`.
pub const RECOVERY: Duration = Duration::from_secs(90);

/// Somebody who buys.
#[derive(Debug, Clone)]
pub struct Buyer {
    pub id: String,
    token: String,
    gateways: Vec<Rest>,
}

impl Buyer {
    /// Somebody with so much GOLD.
    pub async fn with(mesh: &TestMesh, gold: i64) -> Self {
        let buyer = Self::new(mesh);
        if gold > 0 {
            give(mesh, &buyer.id, gold).await;
        }
        buyer
    }

    pub fn new(mesh: &TestMesh) -> Self {
        Self::again(mesh, SystemIds.uuid())
    }

    /// The same person with a token of now.
    pub fn again(mesh: &TestMesh, id: Uuid) -> Self {
        let subject = Subject::User { id: UserId(id), session: SessionId(SystemIds.uuid()) };
        let claims = Claims { subject, ..issuer().access(mesh.now(), &[Role::Standard]) };
        let token = issuer().user_ec.sign(&claims).expect("a token");
        let edges = (0..2).filter(|replica| mesh.nodes.iter().any(|node| node.serves(*replica, "edge")));
        let gateways = edges.map(|replica| Rest::to(mesh.gateway_on(replica)).with_token(&token)).collect();
        Self { id: id.to_string(), token, gateways }
    }

    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    pub fn rest(&self, replica: usize) -> &Rest {
        &self.gateways[replica % self.gateways.len()]
    }

    pub async fn ask(&self, replica: usize, path: &str, body: &Value) -> Answer {
        self.rest(replica).post(path, body).send().await
    }

    /// What a purchase came to, asked for with its key until that is known: a machine that is too busy may answer that it is on its
    /// way, or nothing in time.
    pub async fn known(&self, replica: usize, path: &str, body: &Value) -> Answer {
        wait_for("an answer", RECOVERY, async || {
            let answer = self.ask(replica, path, body).await;
            let known = ![503, 504].contains(&answer.status.as_u16()) && answer.reason() != "IN_PROGRESS";
            known.then_some(answer)
        })
        .await
    }

    /// Buys a product with a key.
    pub async fn buy(&self, product: &str, key: &str) -> Answer {
        self.ask(0, "/api/shop/purchase", &json!({"product_id": product, "idempotency_key": key})).await
    }

    /// Buys GOLD, paying with a handle that says what the payment service does.
    pub async fn convert(&self, key: &str, handle: &str) -> Answer {
        let body = json!({"product_id": "gold-500", "idempotency_key": key, "payment_handle": handle});
        self.ask(0, "/api/shop/purchase", &body).await
    }

    pub async fn transaction(&self, id: &str) -> Value {
        self.rest(1).get(&format!("/api/shop/transactions/{id}")).send().await.expect(200)["transaction"].clone()
    }

    /// The transaction, once it is in a state.
    pub async fn settled(&self, id: &str, state: &str) -> Value {
        wait_for(format!("the purchase is {state}"), RECOVERY, async || {
            let seen = self.transaction(id).await;
            (seen["state"] == format!("PURCHASE_STATE_{state}")).then_some(seen)
        })
        .await
    }
}

/// A key that nobody used.
pub fn key() -> String {
    Uuid::new_v4().to_string()
}

/// Asks the wallet as a service.
pub async fn ask_wallet(mesh: &TestMesh, service: &str, rpc: &str, asked: &impl Message) -> Result<(), Status> {
    // Signed here: auth would not mint a token for each of hundreds.
    let token = issuer().sign(&issuer().internal(mesh.now(), service, "wallet")).expect("a token");
    let bearer = format!("Bearer {token}");
    let path = format!("/coreloop.wallet.v1.WalletInternalService/{rpc}");
    let bytes = asked.encode_to_vec();
    rpc::call(&mesh.grpc("wallet"), &path, &bytes, &[("authorization", bearer.as_str())]).await.map(drop)
}

async fn wallet(mesh: &TestMesh, rpc: &str, asked: &impl Message) {
    ask_wallet(mesh, "bank", rpc, asked).await.expect("the wallet does it");
}

/// Gives somebody GOLD.
pub async fn give(mesh: &TestMesh, user: &str, amount: i64) {
    grant(mesh, user, Currency::Gold, amount).await;
}

/// Gives somebody points.
pub async fn give_points(mesh: &TestMesh, user: &str, amount: i64) {
    grant(mesh, user, Currency::Point, amount).await;
}

async fn grant(mesh: &TestMesh, user: &str, currency: Currency, amount: i64) {
    let asked = GrantRequest {
        user_id: user.into(),
        currency: currency.into(),
        amount,
        reason: "test.grant".into(),
        reference: "1".into(),
        idempotency_key: key(),
        ..GrantRequest::default()
    };
    wallet(mesh, "Grant", &asked).await;
}

/// Has somebody spend GOLD elsewhere.
pub async fn spend(mesh: &TestMesh, user: &str, amount: i64) {
    let asked = SpendRequest {
        user_id: user.into(),
        currency: Currency::Gold.into(),
        amount,
        reason: "test.spend".into(),
        reference: "1".into(),
        idempotency_key: key(),
        ..SpendRequest::default()
    };
    wallet(mesh, "Spend", &asked).await;
}

/// What the ledger says that somebody has.
pub async fn gold(mesh: &TestMesh, user: &str) -> i64 {
    let sql =
        format!("select coalesce(sum(delta), 0)::bigint from wallet.entries where owner = '{user}' and currency = 1");
    mesh.db.count(&sql).await
}

/// Says so of a product.
pub async fn product(mesh: &TestMesh, product: &Value) -> Value {
    let admin = mesh.admin().await;
    let path = "/admin/shop/products";
    admin.post(path, &json!({ "product": product })).await.expect(200)["product"].clone()
}

/// An id of a product that no other test has.
pub fn own(name: &str) -> String {
    format!("{name}-{}", &Uuid::new_v4().simple().to_string()[..12])
}

/// What must not be, of the purchases `{of}`.
const AMISS: &[(&str, &str)] = &[
    ("open", "select count(*) from shop.purchases p where {of} and p.next_at is not null"),
    (
        "an item that was not charged once, at its price",
        "select count(*) from shop.purchases p
          where {of} and p.category = 2 and p.state = 3 and p.price is distinct from
                (select -sum(e.delta) from wallet.postings w join wallet.entries e on e.posting = w.id
                  where w.reference = p.id::text and e.owner = p.user_id)",
    ),
    (
        "an item that does nothing, or twice",
        "select count(*) from shop.purchases p
          where {of} and p.category = 2 and p.state = 3
            and (select count(*) from shop.effects e where e.purchase_id = p.id) <> 1",
    ),
    (
        "a conversion that was not given once",
        "select count(*) from shop.purchases p
          where {of} and p.category = 1 and p.state = 3 and p.gold + p.bonus is distinct from
                (select sum(e.delta) from wallet.postings w join wallet.entries e on e.posting = w.id
                  where w.reference = p.id::text and e.owner = p.user_id)",
    ),
    (
        "a voided conversion that is not taken back but for what is owed",
        "select count(*) from shop.purchases p
          where {of} and p.category = 1 and p.state = 4 and p.owed <>
                (select coalesce(sum(e.delta), 0) from wallet.postings w join wallet.entries e on e.posting = w.id
                  where w.reference = p.id::text and e.owner = p.user_id)",
    ),
    (
        "stock that is not what was sold",
        "select count(*) from shop.stock s
          where s.product_id in (select p.product_id from shop.purchases p where {of}) and s.taken <>
                (select count(*) from shop.purchases q
                  where q.product_id = s.product_id and q.took_stock and q.state <= 3)",
    ),
    (
        "places that are not what was bought",
        "select count(*) from shop.holdings h
          where exists (select from shop.purchases p
                         where {of} and p.user_id = h.user_id and p.product_id = h.product_id)
            and h.taken <>
                (select count(*) from shop.purchases q
                  where q.user_id = h.user_id and q.product_id = h.product_id and q.took_holding and q.state <= 3)",
    ),
    (
        "promo codes that are not what was bought with them",
        "select count(*) from shop.promos c
          where c.code in (select p.promo from shop.purchases p where {of}) and c.used <>
                (select count(*) from shop.purchases q where q.promo = c.code and q.state <= 3)",
    ),
    (
        "something moved for what failed",
        "select count(*) from shop.purchases p
          where {of} and p.state = 5
            and exists (select from wallet.postings w where w.reference = p.id::text and w.kind <> 11)",
    ),
    (
        "an end without its event, or with two",
        "select count(*) from shop.purchases p
          where {of} and (select count(*) from shop.outbox o
                           where o.payload->'purchase_update'->>'transaction_id' = p.id::text
                             and o.type in ('purchase_completed', 'purchase_failed', 'settlement_voided')) <>
                case p.reason when 'CHARGED_BACK' then 2 else 1 end",
    ),
];

/// No purchase was paid for and not given, given and not paid for, or moved twice; none is open. `of` limits it.
pub async fn nothing_is_amiss(mesh: &TestMesh, of: &str) {
    for (what, sql) in AMISS {
        assert_eq!(mesh.db.count(&sql.replace("{of}", of)).await, 0, "{what}");
    }
}
