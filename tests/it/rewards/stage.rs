//! Services that ask for rewards, and what the tables say of it.

use coreloop_rewards_api::v1::{Grant, GrantRequest, GrantResponse, RewardKind};
use coreloop_testkit::{Persona, Shared, TestMesh, rpc};
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
