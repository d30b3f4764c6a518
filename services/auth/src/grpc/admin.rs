//! Accounts and keys, for administrators.

use coreloop_access::{Caller, Role, Roles};
use coreloop_auth_api::v1::{self, AuthReason};
use coreloop_core::{UserId, Violation, page};
use coreloop_facts::Act;
use serde_json::{Value, json};
use sqlx::PgConnection;
use tonic::{Request, Response};
use uuid::Uuid;

use crate::{
    App, Client, Error,
    admin::guard_name,
    events::{self, Event, Note},
    guard::Guard,
    revoke::{self, Which, Why},
    store::{self, admins::Audited, users::proto_time},
};

/// Name of the audit list in its page tokens.
const AUDITS: &str = "auth.login_audits";

fn user_id(text: &str) -> Result<UserId, Error> {
    text.parse().map_err(|_| invalid("user_id", "must be a UUID"))
}

fn invalid(field: &str, description: &str) -> Error {
    Error::Invalid(vec![Violation { field: field.to_owned(), description: description.to_owned() }])
}

fn unknown() -> Error {
    AuthReason::UserNotFound.into()
}

/// The roles a person may hold, STANDARD always among them. INTERNAL is for machines and no account's.
fn roles_of(asked: &[i32]) -> Result<Roles, Error> {
    asked.iter().try_fold(Roles::NONE.with(Role::Standard), |roles, role| match v1::Role::try_from(*role) {
        Ok(v1::Role::Standard) => Ok(roles),
        Ok(v1::Role::Premium) => Ok(roles.with(Role::Premium)),
        Ok(v1::Role::Vip) => Ok(roles.with(Role::Vip)),
        Ok(v1::Role::Admin) => Ok(roles.with(Role::Admin)),
        _ => Err(invalid("roles", "must be roles of a person")),
    })
}

/// Writes what an administrator is about to do into their own history; what cannot be written is not done.
async fn asked(app: &App, by: UserId, client: &Client, note: &Note) -> Result<(), Error> {
    let mut tx = app.begin().await?;
    events::note(app, &mut tx, by, client, note).await?;
    Ok(tx.commit().await?)
}

/// Tells the audit of the mesh what an administrator does to an account, and why, in the transaction of the act.
async fn told(
    app: &App,
    conn: &mut PgConnection,
    (by, user): (UserId, UserId),
    reason: &str,
    (before, after): (Option<Value>, Option<Value>),
) -> Result<(), Error> {
    let subject = user.to_string();
    let act = Act { by, subject: &subject, reason, before: before.as_ref(), after: after.as_ref() };
    Ok(app.acts.tell(conn, &act, app.now()).await?)
}

/// What an account may do, as the audit says it.
fn shown(roles: Roles) -> Option<Value> {
    Some(json!({ "roles": roles.iter().map(|role| role.as_str()).collect::<Vec<_>>() }))
}

fn status(word: &str) -> Option<Value> {
    Some(json!({ "status": word }))
}

/// `SetRoles`: sets what an account may do; its live tokens end, for they say what it could.
///
/// # Errors
/// `USER_NOT_FOUND`.
pub async fn set_roles(
    app: &App,
    request: Request<v1::SetRolesRequest>,
) -> Result<Response<v1::SetRolesResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let client = Client::of(&request);
    let request = request.into_inner();
    let (user, roles) = (user_id(&request.user_id)?, roles_of(&request.roles)?);
    asked(app, by, &client, &Note::RolesAsked { user, roles }).await?;
    let mut tx = app.begin().await?;
    let account = store::users::lock(&mut tx, user).await?.filter(|account| account.status != "withdrawn");
    let account = account.ok_or_else(unknown)?;
    if account.roles() == roles {
        return Ok(Response::new(v1::SetRolesResponse { user: Some(v1::User::from(&account)) }));
    }
    store::admins::set_roles(&mut tx, user, roles, app.now()).await?;
    events::record(app, &mut tx, user, &client, &[Event::RoleChanged { roles }]).await?;
    told(app, &mut tx, (by, user), "", (shown(account.roles()), shown(roles))).await?;
    let revoked = revoke::end(app, &mut tx, user, Which::All, Why::RoleChanged, &client).await?;
    let account = store::users::find(&mut *tx, user).await?.ok_or_else(unknown)?;
    tx.commit().await?;
    revoke::announce(app, revoked).await?;
    tracing::info!(user_id = %user, by = %by, roles = ?account.roles, "roles set");
    Ok(Response::new(v1::SetRolesResponse { user: Some(v1::User::from(&account)) }))
}

/// `LockUser`: refuses sign-in and ends the live tokens. Why and by whom is kept in the account's history.
///
/// # Errors
/// `USER_NOT_FOUND`.
pub async fn lock_user(
    app: &App,
    request: Request<v1::LockUserRequest>,
) -> Result<Response<v1::LockUserResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let client = Client::of(&request);
    let request = request.into_inner();
    let user = user_id(&request.user_id)?;
    let now = app.now();
    let mut tx = app.begin().await?;
    let account = store::users::lock(&mut tx, user).await?.filter(|account| account.status != "withdrawn");
    if account.ok_or_else(unknown)?.active() {
        store::admins::set_status(&mut tx, user, "locked", now).await?;
        told(app, &mut tx, (by, user), &request.reason, (status("active"), status("locked"))).await?;
        let note = Note::UserLocked { by, reason: request.reason };
        events::note(app, &mut tx, user, &client, &note).await?;
    }
    let revoked = revoke::end(app, &mut tx, user, Which::All, Why::Locked, &client).await?;
    let account = store::users::find(&mut *tx, user).await?.ok_or_else(unknown)?;
    tx.commit().await?;
    revoke::announce(app, revoked).await?;
    tracing::info!(user_id = %user, by = %by, "account locked");
    Ok(Response::new(v1::LockUserResponse { user: Some(v1::User::from(&account)) }))
}

/// `UnlockUser`: admits sign-in again and forgets failed tries.
///
/// # Errors
/// `USER_NOT_FOUND`.
pub async fn unlock_user(
    app: &App,
    request: Request<v1::UnlockUserRequest>,
) -> Result<Response<v1::UnlockUserResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let client = Client::of(&request);
    let user = user_id(&request.get_ref().user_id)?;
    let now = app.now();
    let mut tx = app.begin().await?;
    let account = store::users::lock(&mut tx, user).await?.filter(|account| account.status != "withdrawn");
    let account = account.ok_or_else(unknown)?;
    if account.status == "locked" {
        store::admins::set_status(&mut tx, user, "active", now).await?;
    }
    let emails: Vec<String> = account.email.iter().flat_map(|email| [email.clone(), guard_name(email)]).collect();
    let failures = Guard::pardon(&mut tx, &emails, now).await?;
    if account.status == "locked" || failures.is_some() {
        events::note(app, &mut tx, user, &client, &Note::UserUnlocked { by }).await?;
        let shown = |status: &str, failures| Some(json!({ "status": status, "failed_sign_ins": failures }));
        let states = (shown(&account.status, failures.unwrap_or_default()), shown("active", 0));
        told(app, &mut tx, (by, user), "", states).await?;
    }
    let account = store::users::find(&mut *tx, user).await?.ok_or_else(unknown)?;
    tx.commit().await?;
    tracing::info!(user_id = %user, by = %by, "account unlocked");
    Ok(Response::new(v1::UnlockUserResponse { user: Some(v1::User::from(&account)) }))
}

/// `GetUser`.
///
/// # Errors
/// `USER_NOT_FOUND`.
pub async fn get_user(app: &App, request: Request<v1::GetUserRequest>) -> Result<Response<v1::GetUserResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let user = user_id(&request.get_ref().user_id)?;
    let mut tx = app.begin().await?;
    let account = store::users::find(&mut *tx, user).await?;
    events::note(app, &mut tx, by, &Client::of(&request), &Note::UserLookedAt { user }).await?;
    if account.is_some() {
        told(app, &mut tx, (by, user), "", (None, None)).await?;
    }
    tx.commit().await?;
    let account = account.ok_or_else(unknown)?;
    Ok(Response::new(v1::GetUserResponse { user: Some(v1::User::from(&account)) }))
}

/// `ListLoginAudits`, newest first.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_login_audits(
    app: &App,
    request: Request<v1::ListLoginAuditsRequest>,
) -> Result<Response<v1::ListLoginAuditsResponse>, Error> {
    let request = request.into_inner();
    let user = if request.user_id.is_empty() { None } else { Some(user_id(&request.user_id)?) };
    let size = page::size(request.page_size);
    // The token belongs to the list of that user: another filter is another list.
    let cursor: Option<(String, Uuid)> = page::decode(AUDITS, &request.page_token)?;
    let before = cursor.map(|(of, id)| if of == request.user_id { Ok(id) } else { Err(other_list()) }).transpose()?;
    let mut rows = store::admins::audits(&app.db, user, before, size + 1).await?;
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    let last = rows.last().filter(|_| more).map(|row| page::encode(AUDITS, &(&request.user_id, row.id)));
    Ok(Response::new(v1::ListLoginAuditsResponse {
        audits: rows.into_iter().map(proto_audit).collect(),
        next_page_token: last.unwrap_or_default(),
    }))
}

fn other_list() -> Error {
    let reason = coreloop_core::Reason::PageTokenInvalid;
    coreloop_core::Problem::common(reason, "the page token is of another list").into()
}

fn proto_audit(row: Audited) -> v1::LoginAudit {
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    v1::LoginAudit {
        id: row.id.to_string(),
        user_id: id(row.user_id),
        method: row.method,
        provider: row.provider,
        jti: id(row.jti),
        ip: row.ip,
        user_agent: row.user_agent,
        outcome: row.outcome,
        occurred_at: Some(proto_time(row.occurred_at)),
    }
}

/// `RotateKeys`.
///
/// # Errors
/// As the contract lists.
pub async fn rotate_keys(
    app: &App,
    request: Request<v1::RotateKeysRequest>,
) -> Result<Response<v1::RotateKeysResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    asked(app, by, &Client::of(&request), &Note::RotationAsked).await?;
    let rotated = app.keys.rotate_for(app, Some(by)).await?;
    Ok(Response::new(v1::RotateKeysResponse { active_kid: rotated.active_kid, next_kid: rotated.next_kid }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn standard_is_always_included_and_internal_never() {
        let roles = |asked: &[v1::Role]| roles_of(&asked.iter().map(|role| i32::from(*role)).collect::<Vec<_>>());
        assert_eq!(roles(&[]).unwrap(), Roles::NONE.with(Role::Standard));
        let both = roles(&[v1::Role::Vip, v1::Role::Vip, v1::Role::Admin]).unwrap();
        assert_eq!(both, Roles::NONE.with(Role::Standard).with(Role::Vip).with(Role::Admin));
        assert!(roles(&[v1::Role::Internal]).is_err());
        assert!(roles(&[v1::Role::Unspecified]).is_err());
        assert!(roles_of(&[99]).is_err());
    }
}
