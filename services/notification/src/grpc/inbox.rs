//! `ListNotifications`, `GetUnreadCount`, `MarkRead`, `MarkAllRead`: of the caller, and of nobody else.

use coreloop_access::Caller;
use coreloop_core::page;
use coreloop_notification_api::v1;
use jiff::Timestamp;
use tonic::{Request, Response};
use uuid::Uuid;

use crate::{
    App, Error, reading,
    store::{
        inbox::{self, Told},
        people,
    },
    text::{Language, render},
    times::{parse, proto_time},
};

/// Name of the list in its page tokens.
const INBOX: &str = "notification.inbox";

fn proto(told: &Told, language: Language) -> v1::Notification {
    let data = told.params();
    let text = render(&told.template, &data, language);
    v1::Notification {
        notification_id: told.id.to_string(),
        kind: told.kind.into(),
        title: text.title,
        body: text.body,
        data: data.into_iter().collect(),
        created_at: Some(proto_time(told.created_at.to_jiff())),
        read_at: told.read_at.map(|at| proto_time(at.to_jiff())),
    }
}

/// `ListNotifications`.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`; when the database fails.
pub async fn list_notifications(
    app: &App,
    request: Request<v1::ListNotificationsRequest>,
) -> Result<Response<v1::ListNotificationsResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let asked = request.get_ref();
    let size = page::size(asked.page_size);
    let cursor: Option<(i64, Uuid)> = page::decode(INBOX, &asked.page_token)?;
    let before = cursor.and_then(|(at, id)| Some((Timestamp::from_microsecond(at).ok()?, id)));
    let language = match Language::of(&asked.language) {
        Some(language) => language,
        None => people::of(&app.db, user).await?.language.unwrap_or(app.options.language),
    };
    let mut rows = inbox::of_user(&app.db, user, asked.unread, (before, size + 1)).await?;
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| page::encode(INBOX, &(row.created_at.to_jiff().as_microsecond(), row.id)));
    Ok(Response::new(v1::ListNotificationsResponse {
        notifications: rows.iter().map(|row| proto(row, language)).collect(),
        next_page_token: next.unwrap_or_default(),
    }))
}

/// `GetUnreadCount`.
///
/// # Errors
/// When the database fails.
pub async fn get_unread_count(
    app: &App,
    request: Request<v1::GetUnreadCountRequest>,
) -> Result<Response<v1::GetUnreadCountResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let unread = inbox::unread(&app.db, user).await?;
    Ok(Response::new(v1::GetUnreadCountResponse { unread: i32::try_from(unread).unwrap_or(i32::MAX) }))
}

/// `MarkRead`: one of somebody else is none.
///
/// # Errors
/// `NOTIFICATION_NOT_FOUND`.
pub async fn mark_read(
    app: &App,
    request: Request<v1::MarkReadRequest>,
) -> Result<Response<v1::MarkReadResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let asked = &request.get_ref().notification_id;
    let id: Uuid = asked.parse().map_err(|_| Error::invalid("notification_id", "must be a UUID"))?;
    let read_at = reading::one(app, user, id).await?;
    Ok(Response::new(v1::MarkReadResponse { read_at: Some(proto_time(read_at)) }))
}

/// `MarkAllRead`.
///
/// # Errors
/// When the database fails.
pub async fn mark_all_read(
    app: &App,
    request: Request<v1::MarkAllReadRequest>,
) -> Result<Response<v1::MarkAllReadResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let until = parse("until", request.get_ref().until.as_ref())?;
    let marked = reading::all(app, user, until).await?;
    Ok(Response::new(v1::MarkAllReadResponse { marked: i32::try_from(marked).unwrap_or(i32::MAX) }))
}
