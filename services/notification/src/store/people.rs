//! `notification.people`: how somebody wants to be told, and the row that everybody locks who tells them something.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::{quiet::Quiet, text::Language};

/// Kinds that are not pushed unless somebody wants them to be; as the table's default has it.
const PUSH_OFF: [i16; 1] = [1];

/// How somebody wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Kinds of which nothing is told, as the contract numbers them.
    pub inbox_off: Vec<i16>,
    /// Kinds that are not pushed.
    pub push_off: Vec<i16>,
    /// None: as the service is set.
    pub language: Option<Language>,
    /// When nothing is pushed.
    pub quiet: Option<Quiet>,
    /// The account was closed.
    pub closed: bool,
}

/// Who has said nothing.
impl Default for Person {
    fn default() -> Self {
        Self { inbox_off: Vec::new(), push_off: PUSH_OFF.to_vec(), language: None, quiet: None, closed: false }
    }
}

struct Row {
    inbox_off: Vec<i16>,
    push_off: Vec<i16>,
    language: String,
    quiet_start: Option<i16>,
    quiet_end: Option<i16>,
    quiet_zone: Option<String>,
    closed: bool,
}

impl From<Row> for Person {
    fn from(row: Row) -> Self {
        let quiet = match (row.quiet_start, row.quiet_end, row.quiet_zone) {
            (Some(start), Some(end), Some(zone)) => Some(Quiet { start, end, zone }),
            _ => None,
        };
        let language = Language::of(&row.language);
        Self { inbox_off: row.inbox_off, push_off: row.push_off, language, quiet, closed: row.closed }
    }
}

/// Locks the row of a user, which is made where there is none, until the end of the transaction.
///
/// # Errors
/// When the database fails.
pub async fn lock(connection: &mut PgConnection, user: Uuid) -> Result<Person, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "insert into notification.people as mine (user_id) values ($1)
         on conflict on constraint people_pkey do update set user_id = excluded.user_id
         returning inbox_off, push_off, language, quiet_start, quiet_end, quiet_zone, closed",
        user,
    );
    Ok(row.fetch_one(connection).await?.into())
}

/// How a user wants to be told.
///
/// # Errors
/// When the database fails.
pub async fn of(db: impl PgExecutor<'_>, user: Uuid) -> Result<Person, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select inbox_off, push_off, language, quiet_start, quiet_end, quiet_zone, closed
           from notification.people where user_id = $1",
        user,
    );
    Ok(row.fetch_optional(db).await?.map(Person::from).unwrap_or_default())
}

/// Writes how a user whose row is locked wants to be told.
///
/// # Errors
/// When the database fails.
pub async fn prefer(connection: &mut PgConnection, user: Uuid, person: &Person) -> Result<(), sqlx::Error> {
    let quiet = person.quiet.as_ref();
    let language = match person.language {
        None => "",
        Some(Language::Ko) => "ko",
        Some(Language::En) => "en",
    };
    sqlx::query!(
        "update notification.people
            set inbox_off = $2, push_off = $3, language = $4, quiet_start = $5, quiet_end = $6, quiet_zone = $7
          where user_id = $1",
        user,
        &person.inbox_off[..],
        &person.push_off[..],
        language,
        quiet.map(|quiet| quiet.start),
        quiet.map(|quiet| quiet.end),
        quiet.map(|quiet| quiet.zone.as_str()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets all that is known of a user whose row is locked, and that from now on nothing is told.
///
/// # Errors
/// When the database fails.
pub async fn close(connection: &mut PgConnection, user: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with inbox as (delete from notification.inbox where user_id = $1),
              devices as (delete from notification.devices where user_id = $1)
         update notification.people
            set inbox_off = '{}', push_off = '{}', language = '', quiet_start = null, quiet_end = null, quiet_zone = null,
                closed = true
          where user_id = $1",
        user,
    )
    .execute(connection)
    .await?;
    Ok(())
}
