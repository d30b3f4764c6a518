//! Somebody says something: it is kept, and its answer is asked for, in one transaction.

use std::time::Duration;

use coreloop_chat_api::v1::{ChatReason, SendMessageRequest};
use coreloop_core::{Problem, Reason, UserId};
use coreloop_db::Transaction;
use coreloop_eventing::Facts;
use coreloop_facts::v1::ChatMessageAsked;
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    history::{Happened, note},
    sending::{Ask, Kind, command},
    store::{
        answers::{self, Asked},
        conversations,
        messages::{self, Message, Question},
        usage, users,
    },
    times::{day_of, micros, proto_time},
};

/// When whoever was refused may come again.
const LATER: Duration = Duration::from_secs(5);

/// What somebody says.
#[derive(Debug)]
struct Said {
    user: Uuid,
    conversation: Uuid,
    text: String,
    image: Option<Uuid>,
    key: Option<String>,
}

/// Keeps what `user` says and has it answered; what was said and its answer, which may be there already.
///
/// # Errors
/// The refusals of the contract.
pub async fn send(app: &App, user: UserId, asked: SendMessageRequest) -> Result<(Message, Message), Error> {
    let said = parse(user, asked)?;
    let found = conversations::of_user(&app.db, said.user, said.conversation).await?;
    found.ok_or(ChatReason::ConversationNotFound)?;
    if let Some(key) = &said.key
        && let Some(question) = messages::by_key(&app.db, said.conversation, key).await?
    {
        return known(app, &said, question).await;
    }
    admit(app).await?;
    if let Some(image) = said.image {
        // Somebody else's is told apart from none by nothing.
        let found = app.neighbours.image(image).await?.filter(|found| found.user_id == said.user);
        found.ok_or(ChatReason::ImageNotFound)?;
    }
    match write(app, &said).await? {
        Written::Before(question) => known(app, &said, *question).await,
        Written::Now { question, answer } => both(app, question, answer).await,
    }
}

fn parse(user: UserId, asked: SendMessageRequest) -> Result<Said, Error> {
    let conversation =
        asked.conversation_id.parse().map_err(|_| Error::invalid("conversation_id", "must be a UUID"))?;
    let image = match asked.image_id.as_str() {
        "" => None,
        id => Some(id.parse().map_err(|_| Error::invalid("image_id", "must be a UUID"))?),
    };
    if image.is_none() && asked.text.trim().is_empty() {
        return Err(Error::invalid("text", "must say something where no image is sent"));
    }
    let key = Some(asked.idempotency_key).filter(|key| !key.is_empty());
    Ok(Said { user: user.0, conversation, text: asked.text, image, key })
}

/// Refuses what nobody could answer.
///
/// # Errors
/// `DEPENDENCY_UNAVAILABLE` without a model, `OVERLOADED`.
pub async fn admit(app: &App) -> Result<(), Error> {
    if !app.answers {
        return Err(Problem::common(Reason::DependencyUnavailable, "no model is set").into());
    }
    let most = i64::from(app.options.max_open);
    if answers::open(&app.db, None, most).await? >= most {
        return Err(Problem::common(Reason::Overloaded, "too many answers are open").retry_after(LATER).into());
    }
    Ok(())
}

/// What was said by this key before: the same, or the key is another request's.
async fn known(app: &App, said: &Said, question: Message) -> Result<(Message, Message), Error> {
    let same_image = question.image_id == said.image || (question.image_gone && said.image.is_some());
    if question.text != said.text || !same_image {
        return Err(Error::KeyReused);
    }
    let answer = answers::to(&app.db, question.id).await?.ok_or(ChatReason::ConversationNotFound)?;
    both(app, question.id, answer).await
}

async fn both(app: &App, question: Uuid, answer: Uuid) -> Result<(Message, Message), Error> {
    let (question, answer) = tokio::try_join!(messages::by_id(&app.db, question), messages::by_id(&app.db, answer))?;
    // Deleted in between.
    Ok(question.zip(answer).ok_or(ChatReason::ConversationNotFound)?)
}

enum Written {
    Now { question: Uuid, answer: Uuid },
    Before(Box<Message>),
}

async fn write(app: &App, said: &Said) -> Result<Written, Error> {
    let now = micros(app.clock.now());
    let mut tx = coreloop_db::begin(&app.db).await?;
    if !users::hold(&mut tx, said.user).await? {
        return Err(ChatReason::UserWithdrawn.into());
    }
    let found = conversations::lock(&mut tx, said.conversation).await?.filter(|found| found.user_id == said.user);
    let conversation = found.ok_or(ChatReason::ConversationNotFound)?;
    if let Some(key) = &said.key
        && let Some(before) = messages::by_key(&mut *tx, said.conversation, key).await?
    {
        return Ok(Written::Before(Box::new(before)));
    }
    if conversation.messages + 2 > i64::from(app.options.max_messages) {
        return Err(ChatReason::ConversationFull.into());
    }
    let asked = reserve(app, &mut tx, said.user, now).await?;
    let (question, answer) = (app.ids.uuid(), app.ids.uuid());
    let seq = conversation.messages + 1;
    let (text, key) = (said.text.as_str(), said.key.as_deref());
    let row = Question { id: question, seq, text, image_id: said.image, key };
    messages::insert_question(&mut tx, (said.conversation, said.user), &row, now).await?;
    answers::insert(&mut tx, (answer, question), asked, now).await?;
    conversations::asked(&mut tx, said.conversation, seq + 1, now).await?;
    ask(app, tx, answer, asked.command_id, now).await?;
    Ok(Written::Now { question, answer })
}

/// Takes what an answer may cost of what the user has left of the day; whoever holds the row of the user is the only one who does.
///
/// # Errors
/// `TOO_MANY_OPEN_ANSWERS`, `DAILY_LIMIT_REACHED`.
pub async fn reserve(app: &App, connection: &mut PgConnection, user: Uuid, now: Timestamp) -> Result<Asked, Error> {
    let most = i64::from(app.options.max_open_of_user);
    if answers::open(&mut *connection, Some(user), most).await? >= most {
        return Err(ChatReason::TooManyOpenAnswers.into());
    }
    let (day, reserved) = (day_of(now), app.options.reserve_tokens);
    if !usage::take(connection, (user, day), reserved, app.options.daily_tokens).await? {
        return Err(ChatReason::DailyLimitReached.into());
    }
    Ok(Asked { command_id: app.ids.uuid(), reserved, day })
}

/// Tells that an answer is asked for and has it given, as the last of a transaction that has locked its conversation and written it.
///
/// # Errors
/// When the database fails.
pub async fn ask(app: &App, mut tx: Transaction, answer: Uuid, command_id: Uuid, now: Timestamp) -> Result<(), Error> {
    let answer = messages::by_id(&mut *tx, answer).await?.ok_or(Error::Corrupt("an answer that is not there"))?;
    let asks = answer.question_id.ok_or(Error::Corrupt("an answer to nothing"))?;
    let question = messages::by_id(&mut *tx, asks).await?.ok_or(Error::Corrupt("an answer to nothing"))?;
    let fact = ChatMessageAsked {
        conversation_id: answer.conversation_id.to_string(),
        user_id: answer.user_id.to_string(),
        question_id: question.id.to_string(),
        message_id: answer.id.to_string(),
        image_id: question.image_id.map(|id| id.to_string()).unwrap_or_default(),
        attempt: answer.attempt,
        occurred_at: Some(proto_time(now)),
    };
    let kind = if question.image_id.is_some() { Kind::Image } else { Kind::Text };
    let ask = Ask { kind, conversation_id: answer.conversation_id, message_id: answer.id };
    let mut facts = Facts::new();
    note(app, &mut tx, answer.conversation_id, Happened::Asked(fact), &mut facts, now).await?;
    command(app, &mut facts, &ask, command_id)?;
    app.outbox.write(&mut tx, &facts, now).await?;
    tx.commit().await?;
    Ok(())
}
