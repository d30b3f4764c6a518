//! Services that ask for rewards, and what the tables say of it.

use std::time::Duration;

use coreloop_rewards_api::v1::{Grant, GrantRequest, GrantResponse, RewardKind};
use coreloop_testkit::{Answer, Persona, Shared, TestMesh, logs, rpc, wait::wait_for};
use prost::Message;
use serde_json::{Value, json};
use tonic::{Status, transport::Channel};
use uuid::Uuid;

/// Two replicas that the tests of this folder share: each test has users, events and campaigns of its own.
pub static MESH: Shared<TestMesh> =
    Shared::new(|| Box::pin(async { TestMesh::builder().split().replicas(2).stand_ins().start().await }));

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
    person.get("/v1/points/balance").await.expect(200)["balance"]["available"].as_i64().unwrap_or_default()
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
        mesh.admin().await.post("/admin/rewards/inventory", &body).await
    }

    /// What is left.
    pub async fn stock(&self, mesh: &TestMesh) -> i64 {
        mesh.db.count(&format!("select stock from rewards.inventory where sku = '{}'", self.sku)).await
    }
}

/// Somebody who has points.
pub async fn person_with(mesh: &TestMesh, name: &str, amount: i64) -> Persona {
    let person = mesh.persona(name).await;
    Giver::of(mesh, "scan").await.give(0, &points(&person.user_id, amount)).await.unwrap();
    assert_eq!(points_of(&person).await, amount);
    person
}

pub async fn redeem(person: &Persona, sku: &str, key: &str) -> Answer {
    person.post(&format!("/v1/rewards/{sku}/redeem"), &json!({"idempotency_key": key})).await
}

/// A redemption that has come to its end.
pub async fn settled(person: &Persona, id: &str) -> Value {
    wait_for("the redemption ends", Duration::from_secs(60), async || {
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
