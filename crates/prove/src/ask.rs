//! Asking the wallet, as a service of the mesh does, and the market, as people do.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use coreloop_rewards_api::v1::RewardsReason;
use coreloop_shop_api::v1::ShopReason;
use coreloop_testkit::rpc;
use coreloop_wallet_api::v1::{self, BatchPosting, Movement, WalletReason, account::Owner};
use prost::Message;
use tonic::{Status, transport::Channel};

use crate::{
    journal::{Act, Journal, Said},
    market::Market,
};

/// The services that ask. They use the same keys, each for its own acts.
pub(crate) const CALLERS: [&str; 2] = ["game", "predict"];

/// Longest wait for an answer. What is frozen is asked again elsewhere.
pub(crate) const DEADLINE: Duration = Duration::from_secs(4);

/// The replicas of the wallet as the clients reach them, with a token for each caller.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    /// A channel a replica.
    pub(crate) replicas: Vec<Channel>,
    /// Caller and header.
    pub(crate) bearers: Vec<(&'static str, String)>,
    /// The shop and rewards.
    pub(crate) market: Market,
    /// Clients take their time: what comes back wants the cores.
    pub(crate) calm: Arc<AtomicBool>,
}

impl Front {
    async fn call<A: Message + Default>(&self, replica: usize, caller: &str, asked: &Asked) -> Result<A, Said> {
        let path = format!("/coreloop.wallet.v1.WalletInternalService/{}", asked.rpc);
        let channel = &self.replicas[replica % self.replicas.len()];
        let bearer = self.bearers.iter().find(|(name, _)| *name == caller).map_or("", |(_, bearer)| bearer.as_str());
        call(channel, &path, bearer, &asked.message).await
    }

    /// Asks a replica about deeds, in one call if they are more than one, and notes what it says.
    pub(crate) async fn ask(&self, journal: &Journal, replica: usize, deeds: &[usize]) {
        let asked = journal.now();
        let said = match deeds {
            [one] => {
                let deed = journal.deed(*one);
                vec![self.one(replica, deed.caller, &deed.key, &deed.act).await]
            }
            many => {
                let items: Vec<_> = many.iter().map(|number| journal.deed(*number)).collect();
                let caller = items.first().map_or("", |deed| deed.caller);
                let postings = items.iter().map(|deed| batch(&deed.key, &deed.act)).collect();
                self.batch(replica, caller, postings).await
            }
        };
        for (number, said) in deeds.iter().zip(said) {
            journal.hear(*number, asked, said);
        }
    }

    async fn one(&self, replica: usize, caller: &str, key: &str, act: &Act) -> Said {
        if !act.of_wallet() {
            return self.market.ask(replica, key, act).await;
        }
        if let Act::Batch { .. } = act {
            let mut said = self.batch(replica, caller, vec![batch(key, act)]).await;
            return said.pop().unwrap_or_else(|| Said::Unknown("no result".to_owned()));
        }
        // All these answers are a posting and nothing else.
        match self.call::<v1::GrantResponse>(replica, caller, &asked(act, key)).await {
            Ok(v1::GrantResponse { posting: Some(posting) }) => Said::Done(Box::new(posting)),
            Ok(_) => Said::Unknown("an empty answer".to_owned()),
            Err(said) => said,
        }
    }

    async fn batch(&self, replica: usize, caller: &str, postings: Vec<BatchPosting>) -> Vec<Said> {
        let count = postings.len();
        let asked = Asked::of("PostBatch", &v1::PostBatchRequest { postings });
        match self.call::<v1::PostBatchResponse>(replica, caller, &asked).await {
            Ok(answer) => answer.results.into_iter().map(result).collect(),
            Err(said) => vec![said; count],
        }
    }
}

/// Calls, and reads what is told.
pub(crate) async fn call<A: Message + Default>(
    channel: &Channel,
    path: &str,
    bearer: &str,
    message: &[u8],
) -> Result<A, Said> {
    let metadata = [("authorization", bearer)];
    let calling = rpc::call_within(DEADLINE, channel, path, message, &metadata);
    match tokio::time::timeout(DEADLINE + Duration::from_millis(500), calling).await {
        Ok(Ok(answer)) => A::decode(answer).map_err(|error| Said::Unknown(error.to_string())),
        Ok(Err(status)) => Err(told(&status)),
        Err(_) => Err(Said::Unknown("no answer".to_owned())),
    }
}

/// A request as it goes out.
struct Asked {
    rpc: &'static str,
    message: Vec<u8>,
}

impl Asked {
    fn of(rpc: &'static str, message: &impl Message) -> Self {
        Self { rpc, message: message.encode_to_vec() }
    }
}

/// What asks for an act; the batch has a call of its own.
#[rustfmt::skip]
fn asked(act: &Act, key: &str) -> Asked {
    let (reason, reference, idempotency_key) = ("prove".to_owned(), key.to_owned(), key.to_owned());
    match act.clone() {
        Act::Grant { user: user_id, currency, amount, expires_at } => Asked::of("Grant", &v1::GrantRequest {
            user_id, currency, amount, reason, reference, idempotency_key,
            expires_at: expires_at.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
            ..v1::GrantRequest::default()
        }),
        Act::Spend { user: user_id, currency, amount } | Act::Batch { user: user_id, currency, amount } => {
            let destination = None;
            Asked::of("Spend", &v1::SpendRequest {
                user_id, currency, amount, destination, reason, reference, idempotency_key,
            })
        }
        Act::Transfer { from: from_user_id, to: to_user_id, currency, amount } => {
            Asked::of("Transfer", &v1::TransferRequest {
                from_user_id, to_user_id, currency, amount, reason, reference, idempotency_key,
            })
        }
        Act::Hold { user: user_id, currency, amount, ttl_secs } => {
            let ttl = Some(prost_types::Duration { seconds: ttl_secs, nanos: 0 });
            Asked::of("Hold", &v1::HoldRequest {
                user_id, currency, amount, ttl, reason, reference, idempotency_key,
            })
        }
        Act::Capture { hold: hold_id, amount } => {
            let destination = None;
            Asked::of("Capture", &v1::CaptureRequest { hold_id, amount, destination, reason, reference, idempotency_key })
        }
        Act::Release { hold: hold_id } => {
            Asked::of("Release", &v1::ReleaseRequest { hold_id, reason, reference, idempotency_key })
        }
        Act::Reverse { posting: posting_id, amount } => {
            Asked::of("Reverse", &v1::ReverseRequest { posting_id, amount, reason, reference, idempotency_key })
        }
        Act::Buy { .. } | Act::Redeem { .. } | Act::ChargeBack { .. } | Act::Photo { .. } => {
            Asked { rpc: "", message: Vec::new() }
        }
    }
}

fn batch(key: &str, act: &Act) -> BatchPosting {
    let account = |owner| Some(v1::Account { owner: Some(owner) });
    let movements = match act {
        Act::Batch { user, currency, amount } => {
            let (user, house) =
                (account(Owner::UserId(user.clone())), |house: v1::House| account(Owner::House(house.into())));
            let (from, to) = if *amount > 0 { (house(v1::House::Mint), user) } else { (user, house(v1::House::Sink)) };
            vec![Movement { from, to, currency: *currency, amount: amount.abs(), ..Movement::default() }]
        }
        _ => Vec::new(),
    };
    BatchPosting { movements, reason: "prove".to_owned(), reference: key.to_owned(), idempotency_key: key.to_owned() }
}

fn result(result: v1::BatchResult) -> Said {
    match result.outcome {
        Some(v1::batch_result::Outcome::Posting(posting)) => Said::Done(Box::new(posting)),
        Some(v1::batch_result::Outcome::Refusal(refusal)) => refused(refusal.reason, refusal.message),
        None => Said::Unknown("no outcome".to_owned()),
    }
}

fn told(status: &Status) -> Said {
    refused(rpc::reason(status), format!("{:?}: {}", status.code(), status.message()))
}

/// What the contract names as a refusal has not happened; anything else tells nothing.
fn refused(reason: String, message: String) -> Said {
    let known = WalletReason::from_str_name(&format!("WALLET_REASON_{reason}")).is_some()
        || ShopReason::from_str_name(&format!("SHOP_REASON_{reason}")).is_some()
        || RewardsReason::from_str_name(&format!("REWARDS_REASON_{reason}")).is_some()
        || ["IDEMPOTENCY_KEY_REUSED", "VALIDATION_FAILED"].contains(&reason.as_str());
    if known { Said::Refused(reason) } else { Said::Unknown(format!("{reason} {message}")) }
}
