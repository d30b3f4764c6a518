//! Services that ask for rewards, and what the tables say of it.

use std::{collections::HashMap, time::Duration};

use coreloop_rewards_api::v1::{Grant, GrantRequest, GrantResponse, RewardKind};
use coreloop_testkit::{Answer, Persona, Shared, TestMesh, logs, rpc, wait::wait_for};
use prost::Message;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tonic::{Code, Status, transport::Channel};
use uuid::Uuid;

/// For what may need the recovery, and that twice, on a machine that is too busy; the figure of M7 is held by `promises::sagas`.
pub const LONG: Duration = Duration::from_secs(60);

/// Two replicas that the tests of this folder share: each test has users, events and campaigns of its own. What stumbles on a busy
/// machine is tried again soon.
pub static MESH: Shared<TestMesh> = Shared::new(|| {
    let mesh = TestMesh::builder().split().replicas(2).stand_ins().setting("rewards.resend_after_secs", 1_i64);
    // People of tests ask faster than people.
    let mesh = mesh.setting("limit.enabled", false);
    Box::pin(mesh.toml("[eventing]\nretry_delays_secs = [1, 1, 1]\n").start())
});

/// Who is administrator in a mesh, by its database.
static ADMINS: Mutex<Option<HashMap<String, Persona>>> = Mutex::const_new(None);

/// An administrator of the mesh: the same as before while the session is good for some minutes more. Passwords are slow to hash.
pub async fn admin(mesh: &TestMesh) -> Persona {
    let mut admins = ADMINS.lock().await;
    let admins = admins.get_or_insert_default();
    let good = |known: &&Persona| known.claims()["exp"].as_i64().is_some_and(|exp| exp > mesh.now() + 150);
    if let Some(known) = admins.get(&mesh.db.url()).filter(good) {
        return known.clone();
    }
    let admin = mesh.admin().await;
    admins.insert(mesh.db.url(), admin.clone());
    admin
}

/// A service that gives rewards, as scan will.
#[derive(Debug, Clone)]
pub struct Giver {
    channels: Vec<Channel>,
    bearer: String,
}

impl Giver {
    /// The service `name`, that asks every replica.
    pub async fn of(mesh: &TestMesh, name: &str) -> Self {
        let bearer = format!("Bearer {}", mesh.machine_token(name, "rewards").await);
        let replicas = mesh.nodes.iter().filter(|node| (0..9).any(|replica| node.serves(replica, "rewards"))).count();
        Self { channels: (0..replicas).map(|replica| mesh.grpc_on(replica, "rewards")).collect(), bearer }
    }

    pub async fn give(&self, replica: usize, asked: &GrantRequest) -> Result<Grant, Status> {
        let path = "/coreloop.rewards.v1.RewardsInternalService/Grant";
        let channel = &self.channels[replica % self.channels.len()];
        let answer =
            rpc::call(channel, path, &asked.encode_to_vec(), &[("authorization", self.bearer.as_str())]).await?;
        Ok(GrantResponse::decode(answer).expect("an answer of the contract").grant.expect("a grant"))
    }
}

/// An event that nobody told of.
pub fn event() -> String {
    format!("event-{}", Uuid::new_v4())
}

/// Points for an event of its own.
pub fn points(user: &str, amount: i64) -> GrantRequest {
    GrantRequest {
        user_id: user.into(),
        kind: RewardKind::Point.into(),
        amount,
        item: String::new(),
        external_event_id: event(),
        reason: "scan.completed".into(),
    }
}

/// What the wallet says that somebody has.
pub async fn points_of(person: &Persona) -> i64 {
    let answer = wait_for("a balance", LONG, async || {
        Some(person.get("/v1/points/balance").await).filter(|answer| ![503, 504].contains(&answer.status.as_u16()))
    });
    answer.await.expect(200)["balance"]["available"].as_i64().unwrap_or_default()
}

/// The steps that are written down of something.
pub async fn audited(mesh: &TestMesh, subject: &str) -> i64 {
    mesh.db.count(&format!("select count(*) from rewards.reward_audit where subject = '{subject}'")).await
}

/// Facts of a kind that were told of something.
pub async fn told(mesh: &TestMesh, event: &str, field: &str, subject: &str) -> i64 {
    let sql =
        format!("select count(*) from rewards.outbox where type = '{event}' and payload ->> '{field}' = '{subject}'");
    mesh.db.count(&sql).await
}

/// An open campaign that gives points.
pub fn campaign(name: &str, amount: i64, max_grants: i64) -> Value {
    json!({"campaign_id": name, "kind": "REWARD_KIND_POINT", "amount": amount, "state": "OFFER_STATE_ACTIVE",
           "max_grants": max_grants})
}

/// Something on the shelf, of a test's own.
#[derive(Debug)]
pub struct Shelf {
    pub sku: String,
    body: Value,
}

impl Shelf {
    /// So many pieces for so many points.
    pub async fn with(mesh: &TestMesh, price: i64, stock: i64) -> Self {
        Self::at_vendor(mesh, price, stock, "coffee-5000").await
    }

    /// The same, by the vendor's name for it.
    pub async fn at_vendor(mesh: &TestMesh, price: i64, stock: i64, vendor_sku: &str) -> Self {
        let sku = format!("sku-{}", Uuid::new_v4());
        let body = json!({"sku": sku, "title": "Coffee", "description": "One cup", "vendor_sku": vendor_sku,
                          "price": price, "stock": stock, "state": "OFFER_STATE_ACTIVE"});
        let shelf = Self { sku, body };
        shelf.put(mesh, json!({})).await.expect(200);
        shelf
    }

    /// Put again, with a change.
    pub async fn put(&self, mesh: &TestMesh, change: Value) -> Answer {
        let mut body = self.body.clone();
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        admin(mesh).await.post("/admin/rewards/inventory", &body).await
    }

    /// What is left.
    pub async fn stock(&self, mesh: &TestMesh) -> i64 {
        mesh.db.count(&format!("select stock from rewards.inventory where sku = '{}'", self.sku)).await
    }
}

/// Somebody who has points.
pub async fn person_with(mesh: &TestMesh, name: &str, amount: i64) -> Persona {
    let person = mesh.persona(name).await;
    let (giver, asked) = (Giver::of(mesh, "scan").await, points(&person.user_id, amount));
    given(&giver, 0, &asked).await;
    wait_for("the points are there", LONG, async || (points_of(&person).await == amount).then_some(())).await;
    person
}

/// What is promised; whoever was not heard on a machine that is too busy asks again.
pub async fn given(giver: &Giver, replica: usize, asked: &GrantRequest) -> Grant {
    wait_for("a promise", LONG, async || match giver.give(replica, asked).await {
        Ok(grant) => Some(grant),
        Err(status) if UNHEARD.contains(&status.code()) => None,
        Err(status) => panic!("{status}: {}", failures()),
    })
    .await
}

/// Says nothing of what was asked.
const UNHEARD: [Code; 3] = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled];

pub async fn redeem(person: &Persona, sku: &str, key: &str) -> Answer {
    person.post(&format!("/v1/rewards/{sku}/redeem"), &json!({"idempotency_key": key})).await
}

/// What it came to, asked for with one key until that is known: a machine that is too busy may answer that it is on its way, or that
/// somebody was not heard.
pub async fn redeemed(person: &Persona, sku: &str, key: &str) -> Answer {
    wait_for("an answer", LONG, async || {
        let answer = redeem(person, sku, key).await;
        let known = ![503, 504].contains(&answer.status.as_u16()) && answer.reason() != "IN_PROGRESS";
        known.then_some(answer)
    })
    .await
}

/// A redemption that has come to its end.
pub async fn settled(person: &Persona, id: &str) -> Value {
    wait_for(format!("the redemption {id} ends"), LONG, async || {
        let answer = person.get(&format!("/v1/rewards/redemptions/{id}")).await;
        let redemption = (answer.status == 200).then(|| answer.json()["redemption"].clone())?;
        let over = ["ISSUED", "FAILED", "CANCELLED"].map(|state| format!("REDEMPTION_STATE_{state}"));
        over.iter().any(|state| redemption["state"] == state.as_str()).then_some(redemption)
    })
    .await
}

/// What was logged of failures, to be shown by a test that fails.
pub fn failures() -> String {
    let lines = logs::lines_with("rewards").into_iter().chain(logs::lines_with("edge"));
    let failed = lines.filter(|line| line["level"] != "INFO" && line["level"] != "info");
    failed.map(|line| line.to_string()).collect::<Vec<_>>().join("\n")
}
