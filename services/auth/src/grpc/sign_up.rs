//! `SignUp`: an account with a password.

use coreloop_auth_api::v1::{self, AuthReason};
use coreloop_core::UserId;
use tonic::{Request, Response};

use crate::{
    App, Client, Error,
    events::Event,
    password,
    session::{self, Opened, SignIn},
    store::{self, users::NewUser},
};

/// Creates an account and signs it in.
///
/// # Errors
/// `EMAIL_TAKEN`, `PASSWORD_BREACHED`, `INVITE_REQUIRED`, `INVITE_INVALID`.
pub async fn sign_up(app: &App, request: Request<v1::SignUpRequest>) -> Result<Response<v1::SignUpResponse>, Error> {
    let client = Client::of(&request);
    let asked = request.into_inner();
    let client = client.with_device(&asked.device_id, &asked.device_name);
    let opened = make(app, &asked, &client).await?;
    Ok(Response::new(v1::SignUpResponse {
        access_token: opened.tokens.access,
        refresh_token: opened.tokens.refresh,
        token_type: "Bearer".to_owned(),
        expires_in: opened.tokens.expires_in,
        refresh_expires_in: opened.tokens.refresh_expires_in,
        user: Some((&opened.user).into()),
    }))
}

async fn make(app: &App, asked: &v1::SignUpRequest, client: &Client) -> Result<Opened, Error> {
    let nickname = nickname(&asked.nickname)?;
    let email = password::normalise_email(&asked.email);
    password::check_new(&asked.password)?;
    if app.options.invite_required && asked.invite_code.is_empty() {
        return Err(AuthReason::InviteRequired.into());
    }
    let hash = password::hash_new(app, &asked.password).await?;
    let id = UserId(app.ids.uuid());
    let now = app.now();
    let mut tx = app.begin().await?;
    let new = NewUser { id, nickname: &nickname, email: Some(&email), email_verified: false, profile_image_url: "" };
    store::users::insert(&mut tx, &new, now).await?;
    store::users::set_password(&mut tx, id, &hash, now).await?;
    if app.options.invite_required {
        store::invites::take(&mut tx, &asked.invite_code, id, now).await?;
    }
    let registered = Event::UserRegistered { method: "password".to_owned() };
    session::open(app, tx, id, SignIn { before: vec![registered], ..SignIn::by("password", client) }).await
}

/// A shown name without blanks around it and without characters that do not show.
fn nickname(asked: &str) -> Result<String, Error> {
    let name: String = asked.trim().chars().filter(|c| !c.is_control()).collect();
    if name.is_empty() {
        return Err(Error::Invalid(vec![coreloop_core::Violation {
            field: "nickname".to_owned(),
            description: "must have 1 to 40 characters that show".to_owned(),
        }]));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_must_show() {
        assert_eq!(nickname(" 앨리스\u{0} ").unwrap(), "앨리스");
        assert!(nickname(" \u{7}\t ").is_err());
    }
}
