//! Invite codes.

use coreloop_access::Caller;
use coreloop_auth_api::v1;
use coreloop_core::{Violation, page};
use coreloop_facts::Act;
use jiff::Timestamp;
use serde_json::json;
use tonic::{Request, Response};

use crate::{
    App, Error,
    store::{self, invites::Invite, users::proto_time},
    totp,
};

/// Name of the list in its page tokens.
const LIST: &str = "auth.invites";

fn proto_invite(invite: &Invite) -> v1::Invite {
    v1::Invite {
        code: invite.code.clone(),
        max_uses: invite.max_uses,
        used: invite.used,
        expires_at: invite.expires_at.map(|at| proto_time(at.to_jiff())),
        created_at: Some(proto_time(invite.created_at)),
    }
}

fn invalid(field: &str, description: &str) -> Error {
    Error::Invalid(vec![Violation { field: field.to_owned(), description: description.to_owned() }])
}

/// A code as people may type and store it: printable, without white space.
fn is_code(code: &str) -> bool {
    (1..=64).contains(&code.chars().count()) && code.chars().all(|c| !c.is_whitespace() && !c.is_control())
}

fn expiry(at: Option<prost_types::Timestamp>, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let Some(at) = at else { return Ok(None) };
    let at = Timestamp::new(at.seconds, at.nanos).map_err(|_| invalid("expires_at", "is not a time"))?;
    if at > now { Ok(Some(at)) } else { Err(invalid("expires_at", "must be in the future")) }
}

/// `CreateInvite`: a code as given, or one that is made.
///
/// # Errors
/// `INVITE_EXISTS`.
pub async fn create_invite(
    app: &App,
    request: Request<v1::CreateInviteRequest>,
) -> Result<Response<v1::CreateInviteResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let request = request.into_inner();
    let now = app.now();
    let expires_at = expiry(request.expires_at, now)?;
    let code = if request.code.is_empty() { totp::readable_secret()? } else { request.code };
    if !is_code(&code) {
        return Err(invalid("code", "must be printable, without white space"));
    }
    let mut tx = app.begin().await?;
    let invite = store::invites::insert(&mut *tx, &code, request.max_uses, expires_at, by, now).await?;
    let after = json!({ "max_uses": invite.max_uses, "expires_at": expires_at.map(|at| at.to_string()) });
    let act = Act { by, subject: &code, reason: "", before: None, after: Some(&after) };
    app.acts.tell(&mut tx, &act, now).await?;
    tx.commit().await?;
    Ok(Response::new(v1::CreateInviteResponse { invite: Some(proto_invite(&invite)) }))
}

/// `ListInvites`, newest first.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_invites(
    app: &App,
    request: Request<v1::ListInvitesRequest>,
) -> Result<Response<v1::ListInvitesResponse>, Error> {
    let request = request.into_inner();
    let size = page::size(request.page_size);
    let cursor: Option<(Timestamp, String)> = page::decode(LIST, &request.page_token)?;
    let before = cursor.as_ref().map(|(at, code)| (*at, code.as_str()));
    let mut invites = store::invites::page(&app.db, before, size + 1).await?;
    let more = invites.len() > usize::try_from(size).unwrap_or(usize::MAX);
    invites.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    let last = invites.last().filter(|_| more).map(|invite| (invite.created_at, invite.code.clone()));
    Ok(Response::new(v1::ListInvitesResponse {
        invites: invites.iter().map(proto_invite).collect(),
        next_page_token: last.map(|cursor| page::encode(LIST, &cursor)).unwrap_or_default(),
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_invite_expires_in_the_future_or_never() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        assert_eq!(expiry(None, now).unwrap(), None);
        assert!(expiry(at(now.as_second() + 1), now).unwrap().is_some());
        assert!(expiry(at(now.as_second()), now).is_err());
        assert!(expiry(at(i64::MAX), now).is_err());
    }

    #[test]
    fn a_code_is_what_can_be_typed() {
        assert!(is_code("5858") && is_code("초대"));
        assert!(!is_code("") && !is_code("a b") && !is_code("a\u{0}") && !is_code(&"x".repeat(65)));
    }
}
