//! What the shop asks of the wallet. Every act is named by its purchase, so asking again is asking for the same act, and is
//! answered as at first: done, or refused, whatever the user has by then.

use std::collections::HashMap;

use coreloop_auth_api::machine::Machine;
use coreloop_shop_api::v1::ShopReason;
use coreloop_wallet_api::v1::{
    self, Account, BatchPosting, Currency, Funds, House, KeyedPosting, Movement, Posting, account::Owner,
    batch_result::Outcome, wallet_internal_service_client::WalletInternalServiceClient,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::{Error, Options, charges::Charges, error::Refusal, purchase::Purchase};

/// The wallet. Clones share its token, and what waits to be charged.
#[derive(Debug, Clone)]
pub struct Wallet {
    machine: Machine,
    charges: Charges,
}

/// What an act came to.
#[derive(Debug, Clone)]
pub enum Moved {
    /// It has happened.
    Done {
        /// The posting.
        posting_id: String,
        /// GOLD of the user afterwards.
        balance: Option<i64>,
        /// By how much that changed.
        delta: i64,
    },
    /// The wallet says no, and will say so again; nothing has happened.
    Refused {
        /// Why, in our words, as it was when it was first asked for.
        refusal: Refusal,
    },
}

/// What taking came to; none where the key named something else before.
pub(crate) type Taken = Result<Option<Moved>, Error>;

const GOLD: i32 = Currency::Gold as i32;
/// The wallet's word for a key that named something else before.
const KEY_REUSED: &str = "IDEMPOTENCY_KEY_REUSED";

impl Wallet {
    /// Through the machine that the shop is towards the wallet.
    #[must_use]
    pub fn new(machine: Machine, options: &Options) -> Self {
        let charges = Charges::new(machine.clone(), options);
        Self { machine, charges }
    }

    fn client(&self) -> WalletInternalServiceClient<coreloop_service::Link> {
        WalletInternalServiceClient::new(self.machine.link())
    }

    /// Takes the price of an item.
    ///
    /// # Errors
    /// When it is not known what has happened.
    pub async fn charge(&self, purchase: &Purchase) -> Result<Moved, Error> {
        let asked = spend(purchase, purchase.price, None, "shop.purchase", format!("charge:{}", purchase.id));
        let moved = self.charges.charge(asked).await?;
        moved.ok_or_else(|| unclear("a charge of this purchase has another price".to_owned()))
    }

    /// Gives the GOLD of a conversion: what was paid for, and what is on top. One posting.
    ///
    /// # Errors
    /// When it is not known what has happened.
    pub async fn give(&self, purchase: &Purchase) -> Result<Moved, Error> {
        let parts = [(purchase.gold, Funds::Paid), (purchase.bonus, Funds::Free)];
        let movements = parts.into_iter().filter(|(amount, _)| *amount > 0).map(|(amount, funds)| Movement {
            from: account(Owner::House(House::Mint.into())),
            to: account(Owner::UserId(purchase.user.to_string())),
            currency: GOLD,
            amount,
            funds: Some(funds.into()),
            expires_at: None,
        });
        let posting = BatchPosting {
            movements: movements.collect(),
            reason: "shop.conversion".to_owned(),
            reference: purchase.id.to_string(),
            idempotency_key: format!("give:{}", purchase.id),
        };
        let asked = v1::PostBatchRequest { postings: vec![posting] };
        let request = self.machine.request(asked).await.map_err(|status| away(&status))?;
        let answer = self.client().post_batch(request).await.map_err(|status| away(&status))?;
        match answer.into_inner().results.into_iter().next().and_then(|result| result.outcome) {
            Some(Outcome::Posting(posting)) => Ok(done(&purchase.user.to_string(), &posting)),
            Some(Outcome::Refusal(refusal)) if refusal.reason == "BALANCE_LIMIT" => {
                Ok(Moved::Refused { refusal: ShopReason::BalanceLimit.into() })
            }
            Some(Outcome::Refusal(refusal)) => Err(unclear(refusal.reason)),
            None => Err(unclear("no result".to_owned())),
        }
    }

    /// Takes back what [`Wallet::give`] gave, all of it.
    ///
    /// # Errors
    /// When it is not known what has happened.
    pub async fn take_back(&self, purchase: &Purchase, posting_id: &str) -> Result<Moved, Error> {
        let asked = v1::ReverseRequest {
            posting_id: posting_id.to_owned(),
            amount: 0,
            reason: "shop.voided".to_owned(),
            reference: purchase.id.to_string(),
            idempotency_key: format!("back:{}", purchase.id),
        };
        let request = self.machine.request(asked).await.map_err(|status| away(&status))?;
        match self.client().reverse(request).await {
            Ok(answer) => posted(&purchase.user.to_string(), answer.into_inner().posting),
            Err(status) => refused(&status),
        }
    }

    /// Takes back so much of it, where not all is there; `delta` says how much it was, should another amount have been taken
    /// before.
    ///
    /// # Errors
    /// When it is not known what has happened.
    pub async fn claw(&self, purchase: &Purchase, amount: i64) -> Result<Moved, Error> {
        let [first, of_amount] = claw_keys(purchase.id, amount);
        let house = Some(House::Mint.into());
        let claw = |key| take(&self.machine, spend(purchase, amount, house, "shop.voided", key));
        if let Some(moved) = claw(first.clone()).await? {
            return Ok(moved);
        }
        // The first key was asked for another amount. Once refused it stays so, and once done it is what was taken.
        match self.posted(vec![first]).await?.into_iter().next() {
            Some(taken) => posted(&purchase.user.to_string(), taken.posting),
            None => claw(of_amount).await?.ok_or_else(|| unclear("a claw of that amount is another".to_owned())),
        }
    }

    /// GOLD that a user can spend now.
    ///
    /// # Errors
    /// When the wallet does not answer.
    pub async fn available(&self, user: Uuid) -> Result<i64, Error> {
        let asked = v1::GetBalancesRequest { user_id: user.to_string() };
        let request = self.machine.request(asked).await.map_err(|status| away(&status))?;
        let answer = self.client().get_balances(request).await.map_err(|status| away(&status))?;
        let gold = answer.into_inner().balances.into_iter().find(|balance| balance.currency == GOLD);
        gold.map(|balance| balance.available).ok_or_else(|| unclear("no balance".to_owned()))
    }

    /// What was posted under keys.
    ///
    /// # Errors
    /// When the wallet does not answer.
    pub async fn posted(&self, idempotency_keys: Vec<String>) -> Result<Vec<KeyedPosting>, Error> {
        let asked = v1::FindPostingsRequest { idempotency_keys };
        let request = self.machine.request(asked).await.map_err(|status| away(&status))?;
        let answer = self.client().find_postings(request).await.map_err(|status| away(&status))?;
        Ok(answer.into_inner().postings)
    }
}

/// What is to be taken for a purchase, under a key that is made of it.
fn spend(
    purchase: &Purchase,
    amount: i64,
    destination: Option<i32>,
    reason: &str,
    idempotency_key: String,
) -> v1::SpendRequest {
    v1::SpendRequest {
        user_id: purchase.user.to_string(),
        currency: GOLD,
        amount,
        destination,
        reason: reason.to_owned(),
        reference: purchase.id.to_string(),
        idempotency_key,
    }
}

/// Takes it. None where the key named something else before.
///
/// # Errors
/// When it is not known what has happened.
pub(crate) async fn take(machine: &Machine, asked: v1::SpendRequest) -> Taken {
    let user = asked.user_id.clone();
    let request = machine.request(asked).await.map_err(|status| away(&status))?;
    match WalletInternalServiceClient::new(machine.link()).spend(request).await {
        Ok(answer) => posted(&user, answer.into_inner().posting).map(Some),
        Err(status) if is_reused(&status) => Ok(None),
        Err(status) => refused(&status).map(Some),
    }
}

/// Takes from many at once; what [`take`] would have answered of each, in their order.
pub(crate) async fn take_all(machine: &Machine, spends: Vec<v1::SpendOne>) -> Vec<Taken> {
    let users: Vec<_> = spends.iter().filter_map(|one| one.spend.as_ref()).map(|asked| asked.user_id.clone()).collect();
    let answer = match machine.request(v1::SpendManyRequest { spends }).await {
        Ok(request) => WalletInternalServiceClient::new(machine.link()).spend_many(request).await,
        Err(status) => Err(status),
    };
    let results = match answer {
        Ok(answer) => answer.into_inner().results,
        Err(status) => return users.iter().map(|_| Err(away(&status))).collect(),
    };
    // Of what is missing nothing is known.
    let results = results.into_iter().map(|result| result.outcome).chain(std::iter::repeat(None));
    let taken = users.iter().zip(results).map(|(user, outcome)| match outcome {
        Some(Outcome::Posting(posting)) => Ok(Some(done(user, &posting))),
        Some(Outcome::Refusal(refusal)) if refusal.reason == KEY_REUSED => Ok(None),
        Some(Outcome::Refusal(refusal)) => {
            known(&refusal.reason, &refusal.metadata).map(Some).ok_or_else(|| unclear(refusal.reason))
        }
        None => Err(unclear("it does not know what became of it".to_owned())),
    });
    taken.collect()
}

fn account(owner: Owner) -> Option<Account> {
    Some(Account { owner: Some(owner) })
}

/// Keys under which some of a voided conversion is taken back: that of the first amount, which has been asked for since
/// before amounts were part of the name, and that of each amount after it.
#[must_use]
pub fn claw_keys(purchase: Uuid, amount: i64) -> [String; 2] {
    [format!("claw:{purchase}"), format!("claw:{purchase}:{amount}")]
}

fn posted(user: &str, posting: Option<Posting>) -> Result<Moved, Error> {
    posting.map(|posting| done(user, &posting)).ok_or_else(|| unclear("no posting".to_owned()))
}

/// What the user held after the last of its legs.
fn done(user: &str, posting: &Posting) -> Moved {
    let balance = posting.legs.iter().rev().find_map(|leg| leg.balance_after);
    let delta = posting.delta_of(user, Currency::Gold);
    Moved::Done { posting_id: posting.posting_id.clone(), balance, delta }
}

fn is_reused(status: &Status) -> bool {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    status.code() == Code::AlreadyExists && reason == Some(KEY_REUSED)
}

/// Only what the wallet says by a reason of its own is a refusal. Anything else may have happened.
fn refused(status: &Status) -> Result<Moved, Error> {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == "wallet" && status.code() == Code::FailedPrecondition);
    let Some(info) = info else { return Err(away(status)) };
    known(&info.reason, &info.metadata).ok_or_else(|| away(status))
}

/// What a reason of the wallet means to us; none: not that nothing has happened.
fn known(reason: &str, metadata: &HashMap<String, String>) -> Option<Moved> {
    match reason {
        "INSUFFICIENT_FUNDS" => {
            let told = metadata.get("available").cloned().unwrap_or_default();
            let refusal = Refusal { reason: ShopReason::InsufficientFunds, detail: Some(("available", told)) };
            Some(Moved::Refused { refusal })
        }
        "BALANCE_LIMIT" => Some(Moved::Refused { refusal: ShopReason::BalanceLimit.into() }),
        _ => None,
    }
}

fn away(status: &Status) -> Error {
    Error::Away { part: "the wallet", said: format!("{:?}: {}", status.code(), status.message()) }
}

fn unclear(said: String) -> Error {
    Error::Away { part: "the wallet", said }
}
