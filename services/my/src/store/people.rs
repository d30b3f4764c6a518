//! `my.people`: what each user has come to, and the row that everybody locks who changes something of one.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::{badges::Figures, person::Footprint, streak::Streak};

/// A user whose row is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Number of the last event of the history.
    pub version: i64,
    /// Figures of all days.
    pub total: Footprint,
    /// Characters, as the newest event of the collection said.
    pub owned: i32,
    /// Its number.
    pub owned_version: i64,
    /// The account was closed.
    pub closed: bool,
}

/// Locks the row of a user, which is made where there is none, until the end of the transaction.
///
/// # Errors
/// When the database fails.
pub async fn lock(connection: &mut PgConnection, user: Uuid) -> Result<Standing, sqlx::Error> {
    let row = sqlx::query!(
        "insert into my.people as mine (user_id) values ($1)
         on conflict on constraint people_pkey do update set user_id = excluded.user_id
         returning version, scans, recycled, tree_milli, water_ml, co2_g, owned, owned_version, closed",
        user,
    )
    .fetch_one(connection)
    .await?;
    Ok(Standing {
        version: row.version,
        total: Footprint {
            scans: row.scans,
            recycled: row.recycled,
            tree_milli: row.tree_milli,
            water_ml: row.water_ml,
            co2_g: row.co2_g,
        },
        owned: row.owned,
        owned_version: row.owned_version,
        closed: row.closed,
    })
}

/// Locks a user, and sees whether `other`, whose row stays as it is for so long, has closed the account. Others may see so at once.
/// Whoever is named first: in the order of their ids, so that nobody waits for each other.
///
/// # Errors
/// When the database fails.
pub async fn lock_beside(
    connection: &mut PgConnection,
    one: Uuid,
    other: Uuid,
) -> Result<(Standing, bool), sqlx::Error> {
    if one <= other {
        let standing = lock(&mut *connection, one).await?;
        return Ok((standing, is_closed(connection, other).await?));
    }
    let closed = is_closed(&mut *connection, other).await?;
    Ok((lock(connection, one).await?, closed))
}

/// Nobody knows of who has no row.
async fn is_closed(connection: &mut PgConnection, user: Uuid) -> Result<bool, sqlx::Error> {
    let found = sqlx::query_scalar!("select closed from my.people where user_id = $1 for share", user);
    Ok(found.fetch_optional(connection).await?.unwrap_or_default())
}

/// Writes what a locked user has come to.
///
/// # Errors
/// When the database fails.
pub async fn put(connection: &mut PgConnection, user: Uuid, standing: &Standing) -> Result<(), sqlx::Error> {
    let Standing { version, total, owned, owned_version, closed } = *standing;
    sqlx::query!(
        "update my.people
            set version = $2, scans = $3, recycled = $4, tree_milli = $5, water_ml = $6, co2_g = $7, owned = $8,
                owned_version = $9, closed = $10
          where user_id = $1",
        user,
        version,
        total.scans,
        total.recycled,
        total.tree_milli,
        total.water_ml,
        total.co2_g,
        owned,
        owned_version,
        closed,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets all that was known of a locked user, but for the row itself.
///
/// # Errors
/// When the database fails.
pub async fn forget(connection: &mut PgConnection, user: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with heard as (delete from my.heard where user_id = $1),
              footprints as (delete from my.footprints where user_id = $1),
              categories as (delete from my.categories where user_id = $1),
              streaks as (delete from my.streaks where user_id = $1),
              badges as (delete from my.badges where user_id = $1),
              profiles as (delete from my.profiles where user_id = $1),
              preferences as (delete from my.preferences where user_id = $1)
         delete from my.follows where follower = $1 or followee = $1",
        user,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a user has come to, for who reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// Number of the last event of the history; 0: nothing ever happened.
    pub version: i64,
    /// Figures of all days.
    pub total: Footprint,
    /// Rows of days.
    pub streak: Streak,
    /// Different categories.
    pub variety: i64,
    /// Characters, as far as was heard.
    pub owned: i32,
    /// Number of what was heard last of them; 0: nothing.
    pub owned_version: i64,
}

impl Known {
    /// What badges are earned by.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            scans: self.total.scans,
            recycled: self.total.recycled,
            variety: self.variety,
            streak_days: self.streak.longest.into(),
            characters: self.owned.into(),
        }
    }
}

/// What a user has come to.
///
/// # Errors
/// When the database fails.
pub async fn known(db: impl PgExecutor<'_>, user: Uuid) -> Result<Known, sqlx::Error> {
    let row = sqlx::query!(
        r#"select p.version, p.scans, p.recycled, p.tree_milli, p.water_ml, p.co2_g, p.owned, p.owned_version,
                  coalesce(s.run, 0) as "run!", s.last_day as "last_day?", coalesce(s.longest, 0) as "longest!",
                  (select count(*) from my.categories c where c.user_id = p.user_id) as "variety!"
             from my.people p left join my.streaks s on s.user_id = p.user_id
            where p.user_id = $1"#,
        user,
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(Known::default()) };
    Ok(Known {
        version: row.version,
        total: Footprint {
            scans: row.scans,
            recycled: row.recycled,
            tree_milli: row.tree_milli,
            water_ml: row.water_ml,
            co2_g: row.co2_g,
        },
        streak: Streak { run: row.run, last_day: row.last_day, longest: row.longest },
        variety: row.variety,
        owned: row.owned,
        owned_version: row.owned_version,
    })
}
