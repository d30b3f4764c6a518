//! What administrators do, for the audit of the mesh (chapters 03 and 08): one line in the transaction of the act.

use std::sync::Arc;

use coreloop_core::{Ids, UserId};
use coreloop_eventing::{Error, Facts, Outbox};
use coreloop_service::{Call, Target};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::v1::AdminActed;

/// Longest subject, in characters: what the audit is searched by.
const SUBJECT: usize = 200;
/// Longest reason, in characters.
const REASON: usize = 1_000;
/// Longest before and longest after, in bytes of JSON.
const STATE: usize = 16_384;
/// How much is kept of what is longer, in bytes: JSON written as JSON once more is twice as long at most.
const BEGINNING: usize = 8_000;

/// The audit of the mesh, as a service writes to it.
#[derive(Debug, Clone)]
pub struct Acts {
    outbox: Outbox,
    ids: Arc<dyn Ids>,
}

/// Something that an administrator did.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// Who.
    pub by: UserId,
    /// On whom or what; empty where it is on nobody.
    pub subject: &'a str,
    /// Why, in their words; empty where nobody asks.
    pub reason: &'a str,
    /// What was there; none of what is new.
    pub before: Option<&'a Value>,
    /// What is there now; none where nothing changed.
    pub after: Option<&'a Value>,
}

impl Acts {
    /// That of the service whose schema is `schema`.
    ///
    /// # Errors
    /// A schema that is no plain identifier.
    pub fn of(schema: &str, ids: Arc<dyn Ids>) -> Result<Self, Error> {
        Ok(Self { outbox: Outbox::new(schema)?, ids })
    }

    /// Tells of `act` in its transaction, which is that of `connection`. What it is called is the name of the RPC that runs:
    /// nobody keeps a list.
    ///
    /// # Errors
    /// What Postgres says; [`Error::Name`] outside of a call.
    pub async fn tell(&self, connection: &mut PgConnection, act: &Act<'_>, now: Timestamp) -> Result<(), Error> {
        let call = Call::current().ok_or_else(|| Error::Name("an act of no call".to_owned()))?;
        let mut facts = Facts::new();
        facts.add(&*self.ids, act.by.to_string(), &acted(&call.target, act, now))?;
        self.outbox.write(connection, &facts, now).await
    }
}

fn acted(target: &Target, act: &Act<'_>, now: Timestamp) -> AdminActed {
    AdminActed {
        act: format!("{}.{}", target.service, target.method),
        actor_user_id: act.by.to_string(),
        subject: act.subject.chars().take(SUBJECT).collect(),
        reason: act.reason.chars().take(REASON).collect(),
        before: act.before.map(state).unwrap_or_default(),
        after: act.after.map(state).unwrap_or_default(),
        occurred_at: Some(prost_types::Timestamp { seconds: now.as_second(), nanos: now.subsec_nanosecond() }),
    }
}

fn state(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= STATE {
        return text;
    }
    let begins = text.get(..text.floor_char_boundary(BEGINNING)).unwrap_or_default();
    json!({ "begins": begins, "bytes": text.len() }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_is_called_as_its_rpc_and_says_no_more_than_it_may() {
        let target = Target {
            service: "coreloop.wallet.v1.WalletAdminService".to_owned(),
            method: "Adjust".to_owned(),
            ..Target::default()
        };
        let by = UserId(uuid::Uuid::from_u128(7));
        let (short, long) = (json!({ "price": 1 }), json!("\u{1}\"é".repeat(5_000)));
        let (subject, reason) = ("é".repeat(201), "é".repeat(1_001));
        let act = Act { by, subject: &subject, reason: &reason, before: Some(&short), after: Some(&long) };
        let told = acted(&target, &act, Timestamp::UNIX_EPOCH);
        assert_eq!(told.act, "coreloop.wallet.v1.WalletAdminService.Adjust");
        assert_eq!(told.actor_user_id, by.to_string());
        assert_eq!((told.subject.chars().count(), told.reason.chars().count()), (200, 1_000));
        assert_eq!(told.before, r#"{"price":1}"#);
        assert!(told.after.len() <= STATE, "{}", told.after.len());
        let cut: Value = serde_json::from_str(&told.after).unwrap_or_default();
        assert_eq!(cut["bytes"], long.to_string().len());
        assert!(cut["begins"].as_str().is_some_and(|begins| long.to_string().starts_with(begins)));
        let nothing = Act { by, subject: "", reason: "", before: None, after: None };
        assert_eq!(acted(&target, &nothing, Timestamp::UNIX_EPOCH).before, "");
    }
}
