//! What becomes of a user, written together: history, figures, badges, facts.
//!
//! Whoever calls has locked the row of the user ([`crate::store::people::lock`]) in the transaction of `connection`, and has seen that
//! the account is not closed.

use coreloop_eventing::Facts;
use coreloop_facts::v1::MyBadgeEarned;
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    badges::{self, Figures},
    metrics::BadgeLabels,
    person::{Earned, Happened, Person},
    store::{self, people::Standing},
    times::proto_time,
};

/// What becomes of a user.
#[derive(Debug)]
pub struct Change {
    /// Who.
    pub user: Uuid,
    /// What they have come to, this counted.
    pub standing: Standing,
    /// What happened.
    pub happened: Vec<Happened>,
    /// What is told of it.
    pub facts: Facts,
}

impl Change {
    /// Of a locked user; nothing has happened yet.
    #[must_use]
    pub fn of(user: Uuid, standing: Standing) -> Self {
        Self { user, standing, happened: Vec::new(), facts: Facts::new() }
    }

    /// Gives the user what their figures earn, of all badges that they do not have.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn earn(
        &mut self,
        app: &App,
        connection: &mut PgConnection,
        (variety, longest): (i64, i32),
        now: Timestamp,
    ) -> Result<(), Error> {
        let figures = Figures {
            scans: self.standing.total.scans,
            recycled: self.standing.total.recycled,
            variety,
            streak_days: longest.into(),
            characters: self.standing.owned.into(),
        };
        for code in store::badges::give(connection, self.user, &badges::earned(&figures), now).await? {
            let fact = MyBadgeEarned {
                user_id: self.user.to_string(),
                code: code.clone(),
                occurred_at: Some(proto_time(now)),
            };
            self.facts.add(&*app.ids, self.user.to_string(), &fact)?;
            // The commit is not ours: one that fails and is done again is counted twice.
            app.metrics.badges.get_or_create(&BadgeLabels { code: code.clone() }).inc();
            self.happened.push(Happened::Earned(Earned { code, at: now.as_microsecond() }));
        }
        Ok(())
    }

    /// Writes it down.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn write(mut self, app: &App, connection: &mut PgConnection, now: Timestamp) -> Result<(), Error> {
        let place = (self.user, self.standing.version);
        self.standing.version =
            app.history.append_at::<Person>(&mut *connection, place, &self.happened, &*app.ids, now).await?;
        store::people::put(&mut *connection, self.user, &self.standing).await?;
        app.outbox.write(connection, &self.facts, now).await?;
        Ok(())
    }
}
