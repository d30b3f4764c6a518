//! `StreamAnswer`: an answer as it is given, and as it is in the end.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use coreloop_access::Caller;
use coreloop_chat_api::v1::{self, ChatReason, StreamKind};
use futures::{StreamExt as _, stream::BoxStream};
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{id, messages::proto_message};
use crate::{
    App, Error,
    hub::Following,
    pieces::{Follower, Step},
    store::{
        answers, conversations,
        messages::{self, Message, Role, State},
    },
};

/// What is told of an answer.
pub type Told = BoxStream<'static, Result<v1::StreamAnswerResponse, Status>>;

/// Follows an answer in a conversation of the caller. The stream ends with the answer.
///
/// # Errors
/// `CONVERSATION_NOT_FOUND`, `MESSAGE_NOT_FOUND`, `TOO_MANY_STREAMS`.
pub async fn stream_answer(app: &Arc<App>, request: Request<v1::StreamAnswerRequest>) -> Result<Response<Told>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.get_ref();
    let conversation = id("conversation_id", &asked.conversation_id)?;
    let found = conversations::of_user(&app.db, user.0, conversation).await?;
    found.ok_or(ChatReason::ConversationNotFound)?;
    let answer = match asked.message_id.as_str() {
        "" if !asked.after.is_empty() => return Err(Error::invalid("message_id", "must be set where after is")),
        "" => answers::followed(&app.db, conversation).await?.ok_or(ChatReason::MessageNotFound)?,
        text => id("message_id", text)?,
    };
    // Followed before it is read, so that no change falls between.
    let following = app.hub.follow(user, conversation)?;
    let of_it = |found: &Message| found.conversation_id == conversation && found.role == Role::Assistant;
    let found = messages::by_id(&app.db, answer).await?.filter(of_it);
    let found = found.ok_or(ChatReason::MessageNotFound)?;
    let mut stream = Stream {
        app: Arc::clone(app),
        following,
        answer,
        follower: Follower::behind(&asked.after),
        ready: VecDeque::new(),
        stale: Stale { pieces: true, message: false },
        ended: false,
        beat: Duration::from_secs(app.options.heartbeat_secs.into()),
    };
    stream.show(found, StreamKind::Opened);
    let told = futures::stream::unfold(stream, |mut stream| async move {
        let told = stream.next().await?;
        Some((told, stream))
    });
    Ok(Response::new(told.boxed()))
}

/// What may not be what was told.
#[derive(Debug, Clone, Copy)]
struct Stale {
    pieces: bool,
    message: bool,
}

struct Stream {
    app: Arc<App>,
    following: Following,
    answer: Uuid,
    follower: Follower,
    /// What is to be told next.
    ready: VecDeque<v1::StreamAnswerResponse>,
    stale: Stale,
    ended: bool,
    beat: Duration,
}

impl Stream {
    async fn next(&mut self) -> Option<Result<v1::StreamAnswerResponse, Status>> {
        let until = Instant::now() + self.beat;
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Some(Ok(told));
            }
            if self.ended {
                return None;
            }
            if self.stale.pieces || self.stale.message {
                if let Err(error) = self.look().await {
                    self.ended = true;
                    return Some(Err(error.into()));
                }
                if !self.ready.is_empty() || self.ended {
                    continue;
                }
            }
            match tokio::time::timeout_at(until, self.following.next()).await {
                Ok((pieces, message)) => {
                    self.stale.pieces |= pieces;
                    self.stale.message |= message;
                }
                Err(_) => return Some(Ok(self.said(StreamKind::Heartbeat))),
            }
        }
    }

    /// Reads what is new. What cannot be read now is looked for again when there is a word, or doubt.
    async fn look(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.stale.message) {
            match messages::by_id(&self.app.db, self.answer).await {
                Ok(Some(message)) if message.state != State::Pending => {
                    self.show(message, StreamKind::Done);
                    return Ok(());
                }
                Ok(Some(_)) => {}
                Ok(None) => return Err(ChatReason::ConversationNotFound.into()),
                Err(error) if coreloop_db::is_transient(&error) => {
                    tracing::debug!(%error, "an answer that is followed could not be read");
                }
                Err(error) => return Err(error.into()),
            }
        }
        if std::mem::take(&mut self.stale.pieces)
            && let Some(entries) = self.app.pieces.read(self.answer, self.follower.last()).await
        {
            for step in self.follower.take(&entries) {
                let told = match step {
                    Step::Restarted => self.said(StreamKind::Restarted),
                    Step::Piece { text, position } => {
                        v1::StreamAnswerResponse { text, position, ..self.said(StreamKind::Piece) }
                    }
                };
                self.ready.push_back(told);
            }
        }
        Ok(())
    }

    /// Tells the message as it is; the last where it has ended.
    fn show(&mut self, message: Message, open: StreamKind) {
        let kind = match message.state {
            State::Pending => open,
            State::Done => StreamKind::Done,
            State::Failed => StreamKind::Failed,
        };
        self.ended = message.state != State::Pending;
        let told = v1::StreamAnswerResponse { message: Some(proto_message(message)), ..self.said(kind) };
        self.ready.push_back(told);
    }

    fn said(&self, kind: StreamKind) -> v1::StreamAnswerResponse {
        v1::StreamAnswerResponse {
            kind: kind.into(),
            message_id: self.answer.to_string(),
            ..v1::StreamAnswerResponse::default()
        }
    }
}
