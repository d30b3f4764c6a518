//! Who asked what, written before it is done, and what came of it. What was done elsewhere: [`crate::acts`].

use coreloop_core::{Clock, Ids};
use coreloop_service::Call;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{App, Error, store};

/// Something that an administrator asked for.
#[derive(Debug, Clone)]
pub struct Act {
    /// Id, the same in all of its rows.
    pub id: Uuid,
    /// Who: the id of an account, or `cli`.
    pub actor: String,
    /// What, as `ops.dead_letters.reprocess`.
    pub action: String,
    /// On what, as `rewards.issue`.
    pub subject: String,
    /// Request that asked.
    pub request_id: String,
    /// Its trace.
    pub trace_id: String,
}

/// Where acts are written.
#[derive(Debug, Clone, Copy)]
pub struct Book<'a> {
    /// The database of ops.
    pub db: &'a PgPool,
    /// Wall time.
    pub clock: &'a dyn Clock,
    /// Ids.
    pub ids: &'a dyn Ids,
}

impl App {
    /// Its audit.
    #[must_use]
    pub fn book(&self) -> Book<'_> {
        Book { db: &self.db, clock: &*self.clock, ids: &*self.ids }
    }
}

impl Book<'_> {
    /// Writes what is asked, does it, and writes what came of it. What cannot be written is not done; when only the
    /// second row fails, the act has happened and its answer is given: the log has it.
    ///
    /// # Errors
    /// Those of `work`, and what the database says.
    pub async fn audited<T>(
        &self,
        (actor, action, subject): (String, &'static str, &str),
        detail: Value,
        work: impl Future<Output = Result<T, Error>>,
        outcome: impl FnOnce(&T) -> Value,
    ) -> Result<T, Error> {
        let call = Call::current();
        let act = Act {
            id: self.ids.uuid(),
            actor,
            action: action.to_owned(),
            subject: subject.to_owned(),
            request_id: call.as_ref().and_then(|call| call.request_id.to_str().ok()).unwrap_or_default().to_owned(),
            trace_id: call.as_ref().map(|call| call.trace.trace_id_hex()).unwrap_or_default(),
        };
        store::audits::insert(self.db, self.ids.uuid(), &act, "asked", &detail, self.clock.now()).await?;
        let done = work.await;
        let (step, detail) = match &done {
            Ok(value) => ("done", outcome(value)),
            Err(error) => ("failed", json!({ "error": error.to_string() })),
        };
        let noted = store::audits::insert(self.db, self.ids.uuid(), &act, step, &detail, self.clock.now()).await;
        if let Err(error) = noted {
            tracing::error!(act = %act.id, action, step, %error, "the end of an audited act is not recorded");
        }
        done
    }
}
