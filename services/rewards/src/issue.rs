//! The command `rewards.issue`: a vendor is asked for a voucher, and what it says is written down.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_core::Problem;
use coreloop_db::Transaction;
use coreloop_eventing::{Command, CommandHandler, Failure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    App, Error, ending,
    redemptions::{self, Issue},
    store::redemptions::{State, Step, by_id},
    vault::Sealed,
};

/// Asks vendors.
#[derive(Debug, Clone)]
pub struct Issuer(pub Arc<App>);

/// What a command came to, as it is kept beside it: a code is sealed before it is written anywhere.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Came {
    /// Nothing was to be done any more.
    Over,
    /// Issued.
    Issued { order_id: String, sealed: String, key: String },
    /// Refused.
    Refused { reason: String },
}

impl From<Step> for Came {
    fn from(step: Step) -> Self {
        match step {
            Step::Issued { order_id, code } => {
                Self::Issued { order_id, sealed: hex::encode(code.bytes), key: code.key }
            }
            Step::Refused { reason } => Self::Refused { reason },
            _ => Self::Over,
        }
    }
}

impl Came {
    fn step(self) -> Option<Step> {
        match self {
            Self::Over => None,
            Self::Issued { order_id, sealed, key } => {
                Some(Step::Issued { order_id, code: Sealed { bytes: hex::decode(sealed).ok()?, key } })
            }
            Self::Refused { reason } => Some(Step::Refused { reason }),
        }
    }
}

#[async_trait]
impl CommandHandler for Issuer {
    async fn act(&self, command: &Command) -> Result<Value, Failure> {
        let issue: Issue = command.decode()?;
        let found = by_id(&self.0.db, issue.redemption_id).await?;
        let redemption =
            found.ok_or_else(|| Failure::permanent("REDEMPTION_NOT_FOUND", "the command names no redemption"))?;
        let came = if redemption.state == State::Paid {
            let said = self.0.vendor.order(redemption.id, &redemption.vendor_sku).await?;
            Came::from(redemptions::of_vendor(&self.0, redemption.id, said).map_err(failure)?)
        } else {
            Came::Over
        };
        serde_json::to_value(came).map_err(|error| Failure::permanent("RESULT", error.to_string()))
    }

    async fn settle(&self, tx: &mut Transaction, command: &Command, result: &Value) -> Result<(), Failure> {
        let issue: Issue = command.decode()?;
        let came = Came::deserialize(result).map_err(|error| Failure::permanent("RESULT", error.to_string()))?;
        let Some(next) = came.step() else { return Ok(()) };
        let stepped = redemptions::write_step(&self.0, tx, issue.redemption_id, &next).await.map_err(failure)?;
        // The commit is not ours: one that fails and is done again is counted twice, none is counted too few times.
        match stepped {
            Some(redemption) => redemptions::count(&self.0, &redemption),
            None => {
                let now = by_id(&mut **tx, issue.redemption_id).await?;
                ending::late(&self.0, now.as_ref(), &next);
            }
        }
        Ok(())
    }
}

/// What is ours to mend is tried again, too: the points are taken.
fn failure(error: Error) -> Failure {
    match error {
        Error::Database(error) => error.into(),
        error => {
            let problem = Problem::from(error);
            Failure::retryable(problem.reason().to_owned(), problem.message().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_command_is_the_step_that_follows() {
        let code = Sealed { bytes: vec![1, 2, 255], key: "k1".to_owned() };
        for step in [
            Step::Issued { order_id: "o-1".to_owned(), code },
            Step::Refused { reason: "VENDOR:out_of_stock".to_owned() },
        ] {
            let kept = serde_json::to_value(Came::from(step.clone())).ok();
            let read = kept.and_then(|kept| Came::deserialize(kept).ok()).and_then(Came::step);
            assert_eq!(read, Some(step));
        }
    }
}
