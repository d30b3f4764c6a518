//! A service of the mesh that moves money, as the shop will.

use std::sync::atomic::{AtomicU32, Ordering};

use coreloop_core::Reason;
use coreloop_testkit::{Shared, TestMesh, logs, rpc};
use coreloop_wallet_api::v1::{self, Currency, HoldRequest, Posting, ReverseRequest};
use prost::Message;
use tonic::{Status, transport::Channel};
use uuid::Uuid;

/// Two replicas that the tests of this folder share: each test has users and a calling service of its own.
pub static MESH: Shared<TestMesh> =
    Shared::new(|| Box::pin(async { TestMesh::builder().split().replicas(2).start().await }));

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A service that calls the wallet.
#[derive(Debug, Clone)]
pub struct Shop {
    channels: Vec<Channel>,
    name: String,
    bearer: String,
}

/// Somebody whom auth need not know.
pub fn somebody() -> String {
    Uuid::new_v4().to_string()
}

/// A key that nobody used.
pub fn key() -> String {
    Uuid::new_v4().to_string()
}

/// What the wallet logged of its failures, to be shown by a test that fails.
pub fn failures() -> String {
    let lines =
        logs::lines_with("wallet").into_iter().filter(|line| line["level"] != "INFO" && line["level"] != "info");
    lines.map(|line| line.to_string()).collect::<Vec<_>>().join("\n")
}

/// The reason of a refusal.
pub fn reason<T: std::fmt::Debug>(outcome: Result<T, Status>) -> String {
    rpc::reason(&outcome.expect_err("a refusal"))
}

/// Whether a reason says that nobody knows what became of an act: a machine that runs four tests at once may say so.
pub fn is_unknown(reason: &str) -> bool {
    let common = Reason::from_str_name(&format!("REASON_{reason}"));
    matches!(common, Some(Reason::DependencyUnavailable | Reason::DeadlineExceeded))
}

const GOLD: i32 = Currency::Gold as i32;

impl Shop {
    /// A service with keys of its own, that calls every replica.
    pub async fn of(mesh: &TestMesh) -> Self {
        let name = format!("shop-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let bearer = format!("Bearer {}", mesh.machine_token(&name, "wallet").await);
        let replicas = mesh.nodes.iter().filter(|node| (0..9).any(|replica| node.serves(replica, "wallet"))).count();
        Self { channels: (0..replicas).map(|replica| mesh.grpc_on(replica, "wallet")).collect(), name, bearer }
    }

    /// As the wallet's rows name it.
    pub fn caller(&self) -> String {
        format!("service:{}", self.name)
    }

    /// The same service with a token of now, after the clock was moved.
    pub async fn later(mut self, mesh: &TestMesh) -> Self {
        self.bearer = format!("Bearer {}", mesh.machine_token(&self.name, "wallet").await);
        self
    }

    /// The same service, towards other processes.
    pub fn towards(&self, channels: Vec<Channel>) -> Self {
        Self { channels, name: self.name.clone(), bearer: self.bearer.clone() }
    }

    /// Asks a replica.
    pub async fn ask<Q: Message, A: Message + Default>(
        &self,
        replica: usize,
        rpc: &str,
        asked: &Q,
    ) -> Result<A, Status> {
        let path = format!("/coreloop.wallet.v1.WalletInternalService/{rpc}");
        let channel = &self.channels[replica % self.channels.len()];
        let answer =
            rpc::call(channel, &path, &asked.encode_to_vec(), &[("authorization", self.bearer.as_str())]).await?;
        Ok(A::decode(answer).expect("an answer of the contract"))
    }

    pub async fn grant(&self, user: &str, amount: i64) -> Result<Posting, Status> {
        self.grant_as(grant(user, amount)).await
    }

    pub async fn grant_as(&self, asked: v1::GrantRequest) -> Result<Posting, Status> {
        Ok(self.ask::<_, v1::GrantResponse>(0, "Grant", &asked).await?.posting.unwrap())
    }

    pub async fn spend(&self, user: &str, amount: i64) -> Result<Posting, Status> {
        self.spend_as(0, &spend(user, amount)).await
    }

    pub async fn spend_as(&self, replica: usize, asked: &v1::SpendRequest) -> Result<Posting, Status> {
        Ok(self.ask::<_, v1::SpendResponse>(replica, "Spend", asked).await?.posting.unwrap())
    }

    pub async fn transfer(&self, from: &str, to: &str, amount: i64) -> Result<Posting, Status> {
        let asked = v1::TransferRequest {
            from_user_id: from.into(),
            to_user_id: to.into(),
            currency: GOLD,
            amount,
            reason: "test.transfer".into(),
            reference: "1".into(),
            idempotency_key: key(),
        };
        Ok(self.ask::<_, v1::TransferResponse>(0, "Transfer", &asked).await?.posting.unwrap())
    }

    pub async fn hold(&self, user: &str, amount: i64) -> Result<Posting, Status> {
        let asked = HoldRequest {
            user_id: user.into(),
            currency: GOLD,
            amount,
            ttl: None,
            reason: "test.hold".into(),
            reference: "1".into(),
            idempotency_key: key(),
        };
        Ok(self.ask::<_, v1::HoldResponse>(0, "Hold", &asked).await?.posting.unwrap())
    }

    pub async fn capture(&self, hold_id: &str, amount: i64) -> Result<Posting, Status> {
        let asked = v1::CaptureRequest {
            hold_id: hold_id.into(),
            amount,
            destination: None,
            reason: "test.capture".into(),
            reference: "1".into(),
            idempotency_key: key(),
        };
        Ok(self.ask::<_, v1::CaptureResponse>(1, "Capture", &asked).await?.posting.unwrap())
    }

    pub async fn release(&self, hold_id: &str) -> Result<Posting, Status> {
        let asked = v1::ReleaseRequest {
            hold_id: hold_id.into(),
            reason: "test.release".into(),
            reference: "1".into(),
            idempotency_key: key(),
        };
        Ok(self.ask::<_, v1::ReleaseResponse>(1, "Release", &asked).await?.posting.unwrap())
    }

    pub async fn reverse(&self, posting_id: &str, amount: i64) -> Result<Posting, Status> {
        let asked = ReverseRequest {
            posting_id: posting_id.into(),
            amount,
            reason: "test.reverse".into(),
            reference: "1".into(),
            idempotency_key: key(),
        };
        Ok(self.ask::<_, v1::ReverseResponse>(0, "Reverse", &asked).await?.posting.unwrap())
    }

    pub async fn post_batch(&self, postings: Vec<v1::BatchPosting>) -> Result<Vec<v1::BatchResult>, Status> {
        let asked = v1::PostBatchRequest { postings };
        Ok(self.ask::<_, v1::PostBatchResponse>(0, "PostBatch", &asked).await?.results)
    }

    pub async fn balances(&self, user: &str) -> Result<Vec<v1::Balance>, Status> {
        let asked = v1::GetBalancesRequest { user_id: user.into() };
        Ok(self.ask::<_, v1::GetBalancesResponse>(1, "GetBalances", &asked).await?.balances)
    }

    pub async fn verify_integrity(&self) -> v1::VerifyIntegrityResponse {
        self.ask(0, "VerifyIntegrity", &v1::VerifyIntegrityRequest {}).await.expect("a look at the books")
    }
}

pub fn grant(user: &str, amount: i64) -> v1::GrantRequest {
    v1::GrantRequest {
        user_id: user.into(),
        currency: GOLD,
        amount,
        reason: "test.grant".into(),
        reference: "1".into(),
        idempotency_key: key(),
        ..v1::GrantRequest::default()
    }
}

pub fn spend(user: &str, amount: i64) -> v1::SpendRequest {
    v1::SpendRequest {
        user_id: user.into(),
        currency: GOLD,
        amount,
        destination: None,
        reason: "test.spend".into(),
        reference: "1".into(),
        idempotency_key: key(),
    }
}

/// What the ledger says that a user has.
pub async fn balance(mesh: &TestMesh, user: &str) -> i64 {
    let sql =
        format!("select coalesce(sum(delta), 0)::bigint from wallet.entries where owner = '{user}' and currency = 1");
    mesh.db.count(&sql).await
}
