//! `auth.users` and `auth.credentials`.

use coreloop_access::{Role, Roles};
use coreloop_auth_api::v1;
use coreloop_core::UserId;
use coreloop_db::DbError;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::Error;

/// An account.
#[derive(Debug, Clone)]
pub struct User {
    /// Id.
    pub id: UserId,
    /// Shown name.
    pub nickname: String,
    /// Normalised address.
    pub email: Option<String>,
    /// The address was proven.
    pub email_verified: bool,
    /// Profile image; empty when there is none.
    pub profile_image_url: String,
    /// Names of the roles.
    pub roles: Vec<String>,
    /// `active`, `locked` or `withdrawn`.
    pub status: String,
    /// `unknown`, `declared`, `verified` or `rejected`.
    pub age_state: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last sign-in.
    pub last_login_at: Option<jiff_sqlx::Timestamp>,
}

impl User {
    /// The roles as a set.
    #[must_use]
    pub fn roles(&self) -> Roles {
        self.roles.iter().filter_map(|name| Role::parse(name)).collect()
    }

    /// May sign in.
    #[must_use]
    pub fn active(&self) -> bool {
        self.status == "active"
    }
}

/// The account as its owner sees it.
impl From<&User> for v1::User {
    fn from(user: &User) -> Self {
        let age_state = proto_age(&user.age_state);
        let status = match user.status.as_str() {
            "locked" => v1::UserStatus::Locked,
            "withdrawn" => v1::UserStatus::Withdrawn,
            _ => v1::UserStatus::Active,
        };
        Self {
            id: user.id.to_string(),
            nickname: user.nickname.clone(),
            email: user.email.clone().unwrap_or_default(),
            email_verified: user.email_verified,
            profile_image_url: user.profile_image_url.clone(),
            roles: user.roles().iter().map(|role| proto_role(role).into()).collect(),
            status: status.into(),
            age_state: age_state.into(),
            age_verified: age_state == v1::AgeState::Verified,
            created_at: Some(proto_time(user.created_at)),
            last_login_at: user.last_login_at.map(|at| proto_time(at.to_jiff())),
        }
    }
}

/// A role in the contract.
#[must_use]
pub fn proto_role(role: Role) -> v1::Role {
    match role {
        Role::Standard => v1::Role::Standard,
        Role::Premium => v1::Role::Premium,
        Role::Vip => v1::Role::Vip,
        Role::Admin => v1::Role::Admin,
        Role::Internal => v1::Role::Internal,
    }
}

/// An age state in the contract.
#[must_use]
pub fn proto_age(state: &str) -> v1::AgeState {
    match state {
        "declared" => v1::AgeState::Declared,
        "verified" => v1::AgeState::Verified,
        "rejected" => v1::AgeState::Rejected,
        _ => v1::AgeState::Unknown,
    }
}

/// A time in the contract.
#[must_use]
pub fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewUser<'a> {
    /// Id.
    pub id: UserId,
    /// Shown name.
    pub nickname: &'a str,
    /// Address as [`crate::password::normalise_email`] answers it.
    pub email: Option<&'a str>,
    /// The address was proven.
    pub email_verified: bool,
    /// Profile image.
    pub profile_image_url: &'a str,
}

/// Makes an account with the role STANDARD.
///
/// # Errors
/// `EMAIL_TAKEN` by constraint.
pub async fn insert(conn: &mut PgConnection, new: &NewUser<'_>, now: Timestamp) -> Result<User, Error> {
    Ok(sqlx::query_as!(
        User,
        r#"insert into auth.users (id, nickname, email, email_verified, profile_image_url, created_at, updated_at)
           values ($1, $2, $3, $4, $5, $6, $6)
           returning id, nickname, email, email_verified, profile_image_url, roles, status, age_state,
                     created_at as "created_at: jiff_sqlx::Timestamp", last_login_at as "last_login_at: jiff_sqlx::Timestamp""#,
        new.id.0,
        new.nickname,
        new.email,
        new.email_verified,
        new.profile_image_url,
        now.to_sqlx() as _,
    )
    .fetch_one(conn)
    .await?)
}

/// One account.
///
/// # Errors
/// When the database fails.
pub async fn find(db: impl PgExecutor<'_>, id: UserId) -> Result<Option<User>, Error> {
    Ok(sqlx::query_as!(
        User,
        r#"select id, nickname, email, email_verified, profile_image_url, roles, status, age_state,
                  created_at as "created_at: jiff_sqlx::Timestamp", last_login_at as "last_login_at: jiff_sqlx::Timestamp"
             from auth.users where id = $1"#,
        id.0,
    )
    .fetch_optional(db)
    .await?)
}

/// The accounts of `ids` that there are: what [`App::accounts`](crate::App::accounts) reads many at once by.
///
/// # Errors
/// When the database fails.
pub async fn find_all(db: impl PgExecutor<'_>, ids: &[Uuid]) -> Result<Vec<User>, DbError> {
    Ok(sqlx::query_as!(
        User,
        r#"select id, nickname, email, email_verified, profile_image_url, roles, status, age_state,
                  created_at as "created_at: jiff_sqlx::Timestamp", last_login_at as "last_login_at: jiff_sqlx::Timestamp"
             from auth.users where id = any($1)"#,
        ids,
    )
    .fetch_all(db)
    .await?)
}

/// One account, its row locked to the end of the transaction.
///
/// # Errors
/// When the database fails.
pub async fn lock(conn: &mut PgConnection, id: UserId) -> Result<Option<User>, Error> {
    Ok(sqlx::query_as!(
        User,
        r#"select id, nickname, email, email_verified, profile_image_url, roles, status, age_state,
                  created_at as "created_at: jiff_sqlx::Timestamp", last_login_at as "last_login_at: jiff_sqlx::Timestamp"
             from auth.users where id = $1 for update"#,
        id.0,
    )
    .fetch_optional(conn)
    .await?)
}

/// Takes an account for a sign-in: locks its row and tells the password hash it has now.
///
/// # Errors
/// When the database fails.
pub async fn lock_with_hash(conn: &mut PgConnection, id: UserId) -> Result<Option<(User, Option<String>)>, Error> {
    let row = sqlx::query!(
        r#"select u.id, nickname, email, email_verified, profile_image_url, roles, status, age_state,
                  created_at as "created_at: jiff_sqlx::Timestamp",
                  last_login_at as "last_login_at: jiff_sqlx::Timestamp", c.password_hash as "password_hash?"
             from auth.users u left join auth.credentials c on c.user_id = u.id where u.id = $1 for update of u"#,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| {
        let user = User {
            id: row.id.into(),
            nickname: row.nickname,
            email: row.email,
            email_verified: row.email_verified,
            profile_image_url: row.profile_image_url,
            roles: row.roles,
            status: row.status,
            age_state: row.age_state,
            created_at: row.created_at.to_jiff(),
            last_login_at: row.last_login_at,
        };
        (user, row.password_hash)
    }))
}

/// One account by its normalised address.
///
/// # Errors
/// When the database fails.
pub async fn find_by_email(db: impl PgExecutor<'_>, email: &str) -> Result<Option<User>, Error> {
    Ok(sqlx::query_as!(
        User,
        r#"select id, nickname, email, email_verified, profile_image_url, roles, status, age_state,
                  created_at as "created_at: jiff_sqlx::Timestamp", last_login_at as "last_login_at: jiff_sqlx::Timestamp"
             from auth.users where email = $1"#,
        email,
    )
    .fetch_optional(db)
    .await?)
}

/// What a password sign-in looks at.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Account.
    pub user_id: UserId,
    /// PHC string; none when the account has no password.
    pub password_hash: Option<String>,
    /// A session of the account was opened with this device id before.
    pub known_device: bool,
}

/// The credential of an address, in one trip whether or not there is such an account.
///
/// # Errors
/// When the database fails.
pub async fn credential_by_email(
    db: impl PgExecutor<'_>,
    email: &str,
    device_id: &str,
) -> Result<Option<Credential>, Error> {
    Ok(sqlx::query_as!(
        Credential,
        r#"select u.id as user_id, c.password_hash as "password_hash?",
                  exists (select from auth.sessions s where s.user_id = u.id and s.device_id = $2 and $2 <> '') as "known_device!"
             from auth.users u left join auth.credentials c on c.user_id = u.id
            where u.email = $1 and u.status <> 'withdrawn'"#,
        email,
        device_id,
    )
    .fetch_optional(db)
    .await?)
}

/// The password hash of an account; none when it has no password.
///
/// # Errors
/// When the database fails.
pub async fn password_hash(db: impl PgExecutor<'_>, id: UserId) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!("select password_hash from auth.credentials where user_id = $1", id.0)
        .fetch_optional(db)
        .await?)
}

/// Sets the password of an account, whether or not it had one.
///
/// # Errors
/// When the database fails.
pub async fn set_password(conn: &mut PgConnection, id: UserId, hash: &str, now: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        r#"insert into auth.credentials (user_id, password_hash, changed_at) values ($1, $2, $3)
           on conflict (user_id) do update set password_hash = excluded.password_hash, changed_at = excluded.changed_at"#,
        id.0,
        hash,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}
