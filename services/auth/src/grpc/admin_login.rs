//! An administrator's sign-in with a second factor.

use coreloop_access::Role;
use coreloop_auth_api::v1::{self, AuthReason};
use coreloop_core::UserId;
use sqlx::PgConnection;
use tokio::time::Instant;
use tonic::{Request, Response};
use uuid::Uuid;

use crate::{
    App, Client, Error,
    admin::guard_name,
    audit::Audit,
    guard::Account,
    password,
    session::{self, Opened, SignIn},
    store,
    totp::{self, SECRET_LEN, Typed},
};

/// `AdminLogin`: password and code are one try. Which of them was wrong, or that there is no such administrator, is not
/// told, nor does the time tell it.
///
/// Tries are counted apart from [`super::login`]'s: a good password alone must not give back the places that wrong codes
/// have used.
///
/// # Errors
/// `INVALID_CREDENTIALS`, `ACCOUNT_LOCKED`.
pub async fn admin_login(
    app: &App,
    request: Request<v1::AdminLoginRequest>,
) -> Result<Response<v1::AdminLoginResponse>, Error> {
    let started = Instant::now();
    let client = Client::of(&request);
    let request = request.into_inner();
    let client = client.with_device(&request.device_id, &request.device_name);
    let email = password::normalise_email(&request.email);
    let known = store::users::credential_by_email(&app.db, &email, "").await?;
    let user = known.as_ref().map(|known| known.user_id);
    let phc = known.and_then(|known| known.password_hash);
    let outcome = sign_in(app, &email, user, phc, &request, &client).await;
    app.metrics.login(started.elapsed(), outcome.as_ref().err().map(Error::outcome));
    let (opened, left) = outcome.inspect_err(|error| {
        app.audits.record(Audit::of(app, "admin", &client, error.outcome()).maybe_user(user));
    })?;
    Ok(Response::new(v1::AdminLoginResponse {
        access_token: opened.tokens.access,
        token_type: "Bearer".to_owned(),
        expires_in: opened.tokens.expires_in,
        user: Some(v1::User::from(&opened.user)),
        recovery_codes_left: i32::try_from(left).unwrap_or(i32::MAX),
    }))
}

async fn sign_in(
    app: &App,
    email: &str,
    user: Option<UserId>,
    phc: Option<String>,
    request: &v1::AdminLoginRequest,
    client: &Client,
) -> Result<(Opened, i64), Error> {
    let account = Account::Email { email: guard_name(email), known_device: false };
    let attempt = app.guard.begin(app, &account, client).await?;
    let right = app.hasher.verify(password::normalise(&request.password), phc.clone()).await?;
    // The code is looked at whether or not the password was right, or there is such an account: the work is the same.
    let code = read_code(app, user.unwrap_or(UserId(Uuid::nil())), &request.code).await?;
    let done = match (user, code, &phc) {
        (Some(user), Some(code), Some(phc)) if right => open(app, user, code, phc, client).await,
        _ => Err(AuthReason::InvalidCredentials.into()),
    };
    match &done {
        Ok(_) => app.guard.succeeded(app, attempt).await?,
        Err(Error::Refused(_) | Error::LockedByAdmin) => app.guard.failed(app, attempt, client).await?,
        Err(_) => app.guard.forgiven(app, attempt).await?,
    }
    done
}

/// A code that can be right.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Code {
    Step(i64),
    Recovery(Vec<u8>),
}

async fn read_code(app: &App, user: UserId, typed: &str) -> Result<Option<Code>, Error> {
    let sealed = store::totp::secret(&app.db, user).await?;
    let secret = match sealed {
        Some(sealed) => app.vault.open(&user.to_string(), &sealed)?,
        // A stand-in: the work is the same, and it never passes, for there is no row whose step could be used up.
        None => vec![0; SECRET_LEN],
    };
    Ok(match Typed::of(typed) {
        Typed::Totp(code) => totp::step(&secret, &code, app.clock.unix()).map(Code::Step),
        Typed::Recovery(hash) => Some(Code::Recovery(hash)),
    })
}

/// Uses the code up and opens the session in one transaction: a code whose session is not opened stays good.
async fn open(app: &App, user: UserId, code: Code, phc: &str, client: &Client) -> Result<(Opened, i64), Error> {
    let refused = || Error::from(AuthReason::InvalidCredentials);
    let mut tx = app.begin().await?;
    let account = store::users::lock(&mut tx, user).await?.ok_or_else(refused)?;
    if !account.roles().has(Role::Admin) || !use_up(app, &mut tx, user, code).await? {
        return Err(refused());
    }
    let left = store::totp::recovery_left(&mut *tx, user).await?;
    let how = SignIn { admin: true, password_hash: Some(phc), ..SignIn::by("admin", client) };
    Ok((session::open(app, tx, user, how).await?, left))
}

async fn use_up(app: &App, conn: &mut PgConnection, user: UserId, code: Code) -> Result<bool, Error> {
    match code {
        Code::Step(step) => store::totp::use_step(conn, user, step).await,
        Code::Recovery(hash) => store::totp::use_recovery(conn, user, &hash, app.now()).await,
    }
}
