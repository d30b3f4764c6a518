//! `chat.messages`: what was said, by either side.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// Who said it, as the contract numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[repr(i16)]
pub enum Role {
    /// The user.
    User = 1,
    /// The model.
    Assistant = 2,
}

/// How far it is, as the contract numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[repr(i16)]
pub enum State {
    /// The answer waits, or is being given.
    Pending = 1,
    /// It is there.
    Done = 2,
    /// The answer came to nothing.
    Failed = 3,
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Id.
    pub id: Uuid,
    /// Its conversation.
    pub conversation_id: Uuid,
    /// Whose conversation.
    pub user_id: Uuid,
    /// Its number in the conversation.
    pub seq: i64,
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub text: String,
    /// The image that came with it.
    pub image_id: Option<Uuid>,
    /// An image came with it, and was removed since.
    pub image_gone: bool,
    /// How far it is.
    pub state: State,
    /// Why it came to nothing.
    pub failure: String,
    /// What it answers.
    pub question_id: Option<Uuid>,
    /// It ends before its end.
    pub truncated: bool,
    /// How often it was asked for.
    pub attempt: i32,
    /// By which command last.
    pub command_id: Option<Uuid>,
    /// What it counts as until it is known what it took.
    pub reserved: i64,
    /// On which day.
    pub reserved_on: Option<jiff_sqlx::Date>,
    /// When it was written.
    pub created_at: jiff_sqlx::Timestamp,
    /// When it was there, or came to nothing.
    pub done_at: Option<jiff_sqlx::Timestamp>,
}

/// What a user says.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// Id.
    pub id: Uuid,
    /// Number in the conversation.
    pub seq: i64,
    /// What is said.
    pub text: &'a str,
    /// The image that comes with it.
    pub image_id: Option<Uuid>,
    /// Key of the request.
    pub key: Option<&'a str>,
}

/// Writes what a user says in a conversation that is locked.
///
/// # Errors
/// When the database fails.
pub async fn insert_question(
    connection: &mut PgConnection,
    (conversation, user): (Uuid, Uuid),
    question: &Question<'_>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into chat.messages (id, conversation_id, user_id, seq, role, text, image_id, key, state, created_at, done_at)
         values ($1, $2, $3, $4, 1, $5, $6, $7, 2, $8, $8)",
        question.id,
        conversation,
        user,
        question.seq,
        question.text,
        question.image_id,
        question.key,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A message.
///
/// # Errors
/// When the database fails.
pub async fn by_id(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Message>, sqlx::Error> {
    sqlx::query_as!(
        Message,
        r#"select id, conversation_id, user_id, seq, role as "role: Role", text, image_id, image_gone,
                  state as "state: State", failure, question_id, truncated, attempt, command_id, reserved,
                  reserved_on as "reserved_on: jiff_sqlx::Date", created_at as "created_at: jiff_sqlx::Timestamp",
                  done_at as "done_at: jiff_sqlx::Timestamp"
             from chat.messages where id = $1"#,
        id,
    )
    .fetch_optional(db)
    .await
}

/// What was said by a key in a conversation.
///
/// # Errors
/// When the database fails.
pub async fn by_key(db: impl PgExecutor<'_>, conversation: Uuid, key: &str) -> Result<Option<Message>, sqlx::Error> {
    sqlx::query_as!(
        Message,
        r#"select id, conversation_id, user_id, seq, role as "role: Role", text, image_id, image_gone,
                  state as "state: State", failure, question_id, truncated, attempt, command_id, reserved,
                  reserved_on as "reserved_on: jiff_sqlx::Date", created_at as "created_at: jiff_sqlx::Timestamp",
                  done_at as "done_at: jiff_sqlx::Timestamp"
             from chat.messages where conversation_id = $1 and key = $2"#,
        conversation,
        key,
    )
    .fetch_optional(db)
    .await
}

/// The messages of a conversation before a number (none: all), newest first.
///
/// # Errors
/// When the database fails.
pub async fn before(
    db: impl PgExecutor<'_>,
    conversation: Uuid,
    seq: Option<i64>,
    most: i64,
) -> Result<Vec<Message>, sqlx::Error> {
    sqlx::query_as!(
        Message,
        r#"select id, conversation_id, user_id, seq, role as "role: Role", text, image_id, image_gone,
                  state as "state: State", failure, question_id, truncated, attempt, command_id, reserved,
                  reserved_on as "reserved_on: jiff_sqlx::Date", created_at as "created_at: jiff_sqlx::Timestamp",
                  done_at as "done_at: jiff_sqlx::Timestamp"
             from chat.messages where conversation_id = $1 and ($2::bigint is null or seq < $2)
            order by seq desc limit $3"#,
        conversation,
        seq,
        most,
    )
    .fetch_all(db)
    .await
}

/// Notes that an image is gone in all that it came with.
///
/// # Errors
/// When the database fails.
pub async fn without_image(connection: &mut PgConnection, image: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("update chat.messages set image_id = null, image_gone = true where image_id = $1", image)
        .execute(connection)
        .await?;
    Ok(())
}
