//! Making administrators. The first one cannot be made by another, so this is for whoever holds the database: the
//! command line.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coreloop_access::{Role, Roles};
use coreloop_core::UserId;

use crate::{
    App, Client, Error,
    events::{self, Event, Note},
    password,
    revoke::{self, Revoked, Which, Why},
    store, totp, vault,
};

/// A new administrator. Everything secret in here is shown once and kept nowhere.
#[derive(Clone)]
pub struct NewAdmin {
    /// Account.
    pub user: UserId,
    /// The password that was made; none when one was given, or the account had one.
    pub password: Option<String>,
    /// For the authenticator app (`otpauth://totp/…`).
    pub otpauth_url: String,
    /// Each good once instead of a TOTP code.
    pub recovery_codes: Vec<String>,
}

impl std::fmt::Debug for NewAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAdmin").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Name under which an administrator's tries are counted: apart from those of the ordinary sign-in.
pub(crate) fn guard_name(email: &str) -> String {
    format!("admin\n{email}")
}

/// Makes the account of `email` an administrator's: makes the account where there is none, sets a password where there is
/// none (or the given one), and a new second factor. Sessions of an account that was there end.
///
/// # Errors
/// `PASSWORD_BREACHED`, `VALIDATION_FAILED` for the password; when the database fails.
pub async fn create(app: &App, email: &str, given: Option<String>) -> Result<NewAdmin, Error> {
    let email = password::normalise_email(email);
    let made = if given.is_none() { Some(URL_SAFE_NO_PAD.encode(vault::random::<18>()?)) } else { None };
    let phc = password::hash_new(app, given.as_deref().or(made.as_deref()).unwrap_or_default()).await?;
    let secret = vault::random::<{ totp::SECRET_LEN }>()?;
    let recovery_codes = totp::recovery_codes()?;
    let hashes: Vec<Vec<u8>> = recovery_codes.iter().map(|code| totp::recovery_hash(code)).collect();
    let otpauth_url = totp::address(&secret, &email)?;
    let now = app.now();
    let client = Client::default();

    let mut tx = app.begin().await?;
    let known = store::users::find_by_email(&mut *tx, &email).await?;
    let (user, roles, revoked) = match known {
        Some(known) => {
            let account = store::users::lock(&mut tx, known.id).await?.ok_or(Error::NotFound)?;
            let revoked = revoke::end(app, &mut tx, known.id, Which::All, Why::RoleChanged, &client).await?;
            (known.id, account.roles(), revoked)
        }
        None => {
            let user = insert(app, &mut tx, &email).await?;
            (user, Roles::NONE.with(Role::Standard), Revoked::default())
        }
    };
    let roles = roles.with(Role::Admin);
    store::admins::set_roles(&mut tx, user, roles, now).await?;
    let had = store::users::password_hash(&mut *tx, user).await?.is_some();
    if given.is_some() || !had {
        store::users::set_password(&mut tx, user, &phc, now).await?;
    }
    store::totp::set(&mut tx, user, &app.vault.seal(&user.to_string(), &secret)?, &hashes, now).await?;
    // Whoever had the old factor may not be who has the new one.
    store::admin_devices::forget(&mut tx, user).await?;
    events::note(app, &mut tx, user, &client, &Note::SecondFactorSet).await?;
    events::record(app, &mut tx, user, &client, &[Event::RoleChanged { roles }]).await?;
    tx.commit().await?;
    // What was made can be shown only now: no failure after the commit may keep it back.
    revoke::announce_later(app, revoked).await;
    Ok(NewAdmin { user, password: made.filter(|_| !had), otpauth_url, recovery_codes })
}

async fn insert(app: &App, conn: &mut sqlx::PgConnection, email: &str) -> Result<UserId, Error> {
    let user = UserId(app.ids.uuid());
    let nickname: String = email.chars().take_while(|c| *c != '@').take(40).collect();
    let new = store::users::NewUser {
        id: user,
        nickname: if nickname.is_empty() { "admin" } else { &nickname },
        email: Some(email),
        email_verified: true,
        profile_image_url: "",
    };
    store::users::insert(conn, &new, app.now()).await?;
    let registered = Event::UserRegistered { method: "password".to_owned() };
    events::record(app, conn, user, &Client::default(), &[registered]).await?;
    Ok(user)
}
