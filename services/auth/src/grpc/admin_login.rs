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
    guard::{self, Account},
    password,
    session::{self, Opened, SignIn},
    store::{self, users::Credential},
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
    let name = guard_name(&email);
    let device = guard::device_bucket(&name, &client);
    let known = store::admin_devices::credential(&app.db, &email, device.as_deref().unwrap_or_default()).await?;
    let user = known.as_ref().map(|known| known.user_id);
    let outcome = sign_in(app, Try { name, device, known, request: &request, client: &client }).await;
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

/// What a try is about.
struct Try<'a> {
    /// Name it is counted under.
    name: String,
    /// The client's device, by digest.
    device: Option<Vec<u8>>,
    /// What is known of the account.
    known: Option<Credential>,
    request: &'a v1::AdminLoginRequest,
    client: &'a Client,
}

async fn sign_in(app: &App, it: Try<'_>) -> Result<(Opened, i64), Error> {
    let known_device = it.known.as_ref().is_some_and(|known| known.known_device);
    let account = Account::Email { email: it.name.clone(), known_device };
    let attempt = app.guard.begin(app, &account, it.client).await?;
    let outcome = evaluate(app, &it).await;
    app.guard.settle(app, attempt, it.client, outcome).await
}

/// Every step is taken, whatever was wrong before, and there is one way out for all that is: neither the answer nor the time
/// tells a right password from a wrong one, or an administrator from nobody.
///
/// The code is used up and the session opened in one transaction: a code whose session is not opened stays good.
async fn evaluate(app: &App, it: &Try<'_>) -> Result<(Opened, i64), Error> {
    let phc = it.known.as_ref().and_then(|known| known.password_hash.as_deref());
    let user = it.known.as_ref().map_or(UserId(Uuid::nil()), |known| known.user_id);
    let right = app.hasher.verify(password::normalise(&it.request.password), phc.map(ToOwned::to_owned)).await?;
    let code = read_code(app, user, &it.request.code).await?;
    let mut tx = app.begin().await?;
    let account = store::users::lock(&mut tx, user).await?;
    let fresh = use_up(app, &mut tx, user, code).await?;
    if !(right && fresh && account.is_some_and(|account| account.roles().has(Role::Admin))) {
        tx.rollback().await?;
        return Err(AuthReason::InvalidCredentials.into());
    }
    app.guard.admits(&mut *tx, it.client, app.now()).await?;
    if let Some(device) = &it.device {
        store::admin_devices::remember(&mut tx, user, device, app.now()).await?;
    }
    let left = store::totp::recovery_left(&mut *tx, user).await?;
    let how = SignIn { admin: true, password_hash: phc, ..SignIn::by("admin", it.client) };
    Ok((session::open(app, tx, user, how).await?, left))
}

/// What was typed, as the database is asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Code {
    /// Step of the code; [`NO_STEP`] where it is the code of none.
    Step(i64),
    /// Digest.
    Recovery(Vec<u8>),
}

/// Before every step that was ever used, so the database refuses it as it refuses one used up.
const NO_STEP: i64 = i64::MIN;

async fn read_code(app: &App, user: UserId, typed: &str) -> Result<Code, Error> {
    let sealed = store::totp::secret(&app.db, user).await?;
    let secret = match sealed {
        Some(sealed) => app.vault.open(&user.to_string(), &sealed)?,
        // A stand-in: it never passes, for there is no row whose step could be used up.
        None => vec![0; SECRET_LEN],
    };
    Ok(match Typed::of(typed) {
        Typed::Totp(code) => Code::Step(totp::step(&secret, &code, app.clock.unix()).unwrap_or(NO_STEP)),
        Typed::Recovery(hash) => Code::Recovery(hash),
    })
}

async fn use_up(app: &App, conn: &mut PgConnection, user: UserId, code: Code) -> Result<bool, Error> {
    match code {
        Code::Step(step) => store::totp::use_step(conn, user, step).await,
        Code::Recovery(hash) => store::totp::use_recovery(conn, user, &hash, app.now()).await,
    }
}
