//! The characters that there are.

use std::sync::{Arc, PoisonError, RwLock};

use coreloop_core::{Problem, Reason};
use coreloop_db::{DbError, deadline};
use serde::{Deserialize, Serialize};

use crate::{App, Error, condition::Unlock, store};

/// In both languages of the house.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// English.
    pub en: String,
    /// Korean.
    pub ko: String,
}

/// A character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Character {
    /// Code, as `CHR001`.
    pub code: String,
    /// Name.
    pub name: Text,
    /// Where it comes from.
    pub lore: Text,
    /// What kind it is, as shown.
    pub type_label: Text,
    /// When it can be had.
    pub unlock: Unlock,
    /// Categories of scans that grant it.
    pub categories: Vec<String>,
    /// What the condition counts for level 2, 3 and so on.
    pub evolves_at: Vec<i32>,
    /// It can be had now.
    pub active: bool,
}

impl Character {
    /// Path of its picture.
    #[must_use]
    pub fn asset_url(&self) -> String {
        format!("characters/{}/sprite.png", self.code)
    }
}

/// What the database said last, for when it does not.
#[derive(Debug, Default)]
pub struct Remembered(RwLock<Option<Arc<Vec<Character>>>>);

impl Remembered {
    fn keep(&self, shelf: Arc<Vec<Character>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(shelf);
    }

    fn last(&self) -> Option<Arc<Vec<Character>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The catalogue in its order, for who reads: where the database is away, as it was when somebody of this process last read it, else
/// as Redis has it. Who decides reads it in their transaction.
///
/// # Errors
/// When nobody can tell.
pub async fn shown(app: &App) -> Result<Arc<Vec<Character>>, Error> {
    let patience = app.options.database_patience();
    let failed = match deadline::within(patience, store::catalogue::all(&app.db, &app.schema)).await {
        Some(Ok(shelf)) => {
            let shelf = Arc::new(shelf);
            app.remembered.keep(Arc::clone(&shelf));
            return Ok(shelf);
        }
        Some(Err(error)) if !is_away(&error) => return Err(error),
        Some(Err(error)) => error,
        None => away().into(),
    };
    if let Some(shelf) = app.remembered.last() {
        return Ok(shelf);
    }
    app.views.details().await.ok().flatten().map(Arc::new).ok_or(failed)
}

/// The database is away: what others know may be shown.
#[must_use]
pub fn is_away(error: &Error) -> bool {
    match error {
        Error::Database(DbError::Sqlx(error)) => coreloop_db::is_transient(error),
        Error::History(coreloop_eventstore::Error::Db(DbError::Sqlx(error))) => coreloop_db::is_transient(error),
        _ => false,
    }
}

/// What is said when it did not answer in time.
#[must_use]
pub fn away() -> Problem {
    Problem::common(Reason::DependencyUnavailable, "a part that this call needs is away")
        .retry_after(std::time::Duration::from_secs(1))
}
