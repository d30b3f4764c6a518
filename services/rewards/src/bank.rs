//! The wallet, as this service asks it: each movement under a key of its own, so that it is asked again without harm.

use std::time::Duration;

use coreloop_auth_api::machine::Machine;
use coreloop_core::{Problem, Reason, UserId};
use coreloop_service::Ctx;
use coreloop_wallet_api::v1::{
    self, Currency, House, KeyedPosting, Posting, WalletReason,
    wallet_internal_service_client::WalletInternalServiceClient,
};
use tonic::Status;
use tonic_types::StatusExt as _;
use uuid::Uuid;

/// Longest time of one question. Shorter than `recover_after_secs`: nobody else asks meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the wallet did not do.
#[derive(Debug)]
pub enum Unpaid {
    /// It refuses, and will whenever this key is asked again: the reason's constant.
    Refused(String),
    /// It is not known whether it has; the same key tells.
    Unknown(Status),
}

/// The wallet. Clones share its token.
#[derive(Debug, Clone)]
pub struct Bank(Machine);

/// Why value moves.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// Why, in a word, as `rewards.grant`.
    pub reason: &'a str,
    /// What it belongs to; with the reason, the key.
    pub subject: Uuid,
}

impl Cause<'_> {
    /// The key under which the wallet is asked.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.reason, self.subject)
    }
}

impl Bank {
    /// The wallet of this mesh.
    #[must_use]
    pub fn of(ctx: &Ctx) -> Self {
        Self(Machine::of(ctx, "rewards", "wallet"))
    }

    /// Gives a user value of the house.
    ///
    /// # Errors
    /// What was refused, or is not known.
    pub async fn grant(
        &self,
        user: UserId,
        currency: Currency,
        amount: i64,
        cause: Cause<'_>,
    ) -> Result<Posting, Unpaid> {
        let asked = v1::GrantRequest {
            user_id: user.to_string(),
            currency: currency.into(),
            amount,
            source: Some(House::Promo.into()),
            funds: None,
            expires_at: None,
            reason: cause.reason.to_owned(),
            reference: cause.subject.to_string(),
            idempotency_key: cause.key(),
        };
        let request = async {
            let request = self.0.request(asked).await?;
            Ok(WalletInternalServiceClient::new(self.0.link()).grant(request).await?.into_inner().posting)
        };
        posting(request).await
    }
}

impl Bank {
    /// Takes points from a user; the posting that did.
    ///
    /// # Errors
    /// What was refused, or is not known.
    pub async fn spend_points(&self, user: UserId, amount: i64, cause: Cause<'_>) -> Result<Uuid, Unpaid> {
        let asked = v1::SpendRequest {
            user_id: user.to_string(),
            currency: Currency::Point.into(),
            amount,
            destination: None,
            reason: cause.reason.to_owned(),
            reference: cause.subject.to_string(),
            idempotency_key: cause.key(),
        };
        let request = async {
            let request = self.0.request(asked).await?;
            Ok(WalletInternalServiceClient::new(self.0.link()).spend(request).await?.into_inner().posting)
        };
        id(&posting(request).await?)
    }

    /// Undoes a posting; the posting that did.
    ///
    /// # Errors
    /// What was refused, or is not known.
    pub async fn reverse(&self, spent: Uuid, cause: Cause<'_>) -> Result<Uuid, Unpaid> {
        let asked = v1::ReverseRequest {
            posting_id: spent.to_string(),
            amount: 0,
            reason: cause.reason.to_owned(),
            reference: cause.subject.to_string(),
            idempotency_key: cause.key(),
        };
        let request = async {
            let request = self.0.request(asked).await?;
            Ok(WalletInternalServiceClient::new(self.0.link()).reverse(request).await?.into_inner().posting)
        };
        id(&posting(request).await?)
    }
}

impl Bank {
    /// What was posted under keys.
    ///
    /// # Errors
    /// When the wallet does not answer.
    pub async fn posted(&self, idempotency_keys: Vec<String>) -> Result<Vec<KeyedPosting>, Problem> {
        let asked = v1::FindPostingsRequest { idempotency_keys };
        let answer = async {
            let request = self.0.request(asked).await?;
            WalletInternalServiceClient::new(self.0.link()).find_postings(request).await
        };
        let away = |status| Problem::unavailable("the wallet does not answer", status);
        Ok(answer.await.map_err(away)?.into_inner().postings)
    }
}

fn id(posting: &Posting) -> Result<Uuid, Unpaid> {
    posting.posting_id.parse().map_err(|_| Unpaid::Unknown(unreadable("a posting without an id")))
}

/// An answer that the contract does not know.
fn unreadable(what: &'static str) -> Status {
    Problem::common(Reason::DependencyUnavailable, what).into()
}

/// Waits for a posting, and tells what is for good from what may pass.
async fn posting(asked: impl Future<Output = Result<Option<Posting>, Status>>) -> Result<Posting, Unpaid> {
    let answer = coreloop_db::deadline::within(PATIENCE, asked).await;
    let status = match answer {
        Some(Ok(Some(posting))) => return Ok(posting),
        Some(Ok(None)) => unreadable("an answer without a posting"),
        Some(Err(status)) => status,
        None => Problem::common(Reason::DeadlineExceeded, "the wallet takes too long").into(),
    };
    Err(decided(&status).map_or(Unpaid::Unknown(status), Unpaid::Refused))
}

/// Why the books of the wallet refuse, which they do for ever. Anything else is no word on what was done under the key: that the
/// request breaks a rule, or that the key named another, may be said by an upgrade of what was posted long ago.
fn decided(status: &Status) -> Option<String> {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == "wallet")?;
    let reason = WalletReason::from_str_name(&format!("WALLET_REASON_{}", info.reason))?;
    (reason != WalletReason::Unspecified).then(|| info.reason.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn only_what_the_books_decide_is_for_good() {
        let said = |code, domain: &str, reason: &str| {
            let details = ErrorDetails::with_error_info(reason, domain, HashMap::new());
            decided(&Status::with_error_details(code, "refused", details))
        };
        for (code, reason) in [
            (Code::FailedPrecondition, "INSUFFICIENT_FUNDS"),
            (Code::FailedPrecondition, "BALANCE_LIMIT"),
            (Code::NotFound, "POSTING_NOT_FOUND"),
            (Code::InvalidArgument, "AMOUNT_TOO_LARGE"),
        ] {
            assert_eq!(said(code, "wallet", reason).as_deref(), Some(reason));
            assert_eq!(said(code, "elsewhere", reason), None, "{reason} of somebody else");
        }
        let common = Problem::common(Reason::IdempotencyKeyReused, "a key");
        for (code, domain, reason) in [
            (Code::AlreadyExists, common.domain(), "IDEMPOTENCY_KEY_REUSED"),
            (Code::InvalidArgument, common.domain(), "VALIDATION_FAILED"),
            (Code::FailedPrecondition, "wallet", "SOMETHING_NEW"),
            (Code::FailedPrecondition, "wallet", "UNSPECIFIED"),
            (Code::FailedPrecondition, "wallet", ""),
        ] {
            assert_eq!(said(code, domain, reason), None, "{reason}");
        }
        assert_eq!(decided(&Status::not_found("no such method")), None);
    }
}
