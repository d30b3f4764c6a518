//! `auth.sessions`.
//!
//! A session is live that was not ended and expires after `live_after` ([`crate::App::live_after`]): every statement that
//! asks for live ones compares so, or what one lists another could not end.

use coreloop_core::{SessionId, TokenId, UserId};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::{Client, Error};

/// A session to be opened.
#[derive(Debug, Clone)]
pub struct NewSession<'a> {
    /// Id.
    pub id: SessionId,
    /// Account.
    pub user: UserId,
    /// `user` or `admin`.
    pub audience: &'static str,
    /// How it was opened.
    pub method: &'a str,
    /// Provider of a social sign-in.
    pub provider: &'a str,
    /// Device.
    pub client: &'a Client,
    /// First access token.
    pub access_jti: TokenId,
    /// When that expires.
    pub access_expires_at: Timestamp,
    /// First refresh token; administrators have none.
    pub refresh_jti: Option<TokenId>,
    /// When the session ends unless refreshed.
    pub expires_at: Timestamp,
}

/// Opens a session.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut PgConnection, new: &NewSession<'_>, now: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        r#"insert into auth.sessions (id, user_id, audience, method, provider, device_id, device_name, ip, user_agent,
                                      access_jti, access_expires_at, refresh_jti, created_at, last_used_at, expires_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14)"#,
        new.id.0,
        new.user.0,
        new.audience,
        new.method,
        new.provider,
        new.client.device_id,
        new.client.device_name,
        new.client.ip,
        new.client.user_agent,
        new.access_jti.0,
        new.access_expires_at.to_sqlx() as _,
        new.refresh_jti.map(|id| id.0),
        now.to_sqlx() as _,
        new.expires_at.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What the rule of refreshing looks at.
#[derive(Debug, Clone)]
pub struct Family {
    /// Account.
    pub user_id: UserId,
    /// The only refresh token that is good now.
    pub refresh_jti: Option<Uuid>,
    /// The one traded last.
    pub traded_jti: Option<Uuid>,
    /// Who traded it.
    pub traded_by: Option<Vec<u8>>,
    /// When.
    pub traded_at: Option<jiff_sqlx::Timestamp>,
    /// For what, sealed.
    pub traded_pair: Option<Vec<u8>>,
    /// The session has ended.
    pub ended: bool,
}

/// A session, its row locked: of any number of parallel refreshes one at a time decides.
///
/// # Errors
/// When the database fails.
pub async fn lock_family(conn: &mut PgConnection, id: SessionId) -> Result<Option<Family>, Error> {
    Ok(sqlx::query_as!(
        Family,
        r#"select user_id, refresh_jti, traded_jti, traded_by, traded_at as "traded_at: jiff_sqlx::Timestamp",
                  traded_pair, ended_at is not null as "ended!"
             from auth.sessions where id = $1 and audience = 'user' for no key update"#,
        id.0,
    )
    .fetch_optional(conn)
    .await?)
}

/// A trade of one refresh token for the next pair.
#[derive(Debug, Clone)]
pub struct Trade<'a> {
    /// Session.
    pub id: SessionId,
    /// The token traded.
    pub old: TokenId,
    /// Its successor.
    pub refresh_jti: TokenId,
    /// The new access token.
    pub access_jti: TokenId,
    /// When that expires.
    pub access_expires_at: Timestamp,
    /// When the session ends unless refreshed again.
    pub expires_at: Timestamp,
    /// Who trades.
    pub client: &'a Client,
    /// The new pair, sealed by the old token.
    pub pair: &'a [u8],
}

/// Records a trade. Only the current token can be traded, whatever the caller decided before.
///
/// # Errors
/// When the database fails; `NOT_FOUND` when the token is not the session's current one.
pub async fn trade(conn: &mut PgConnection, trade: &Trade<'_>, now: Timestamp) -> Result<(), Error> {
    let done = sqlx::query!(
        r#"update auth.sessions
              set generation = generation + 1, refresh_jti = $3, access_jti = $4, access_expires_at = $5, expires_at = $6,
                  traded_jti = $2, traded_by = $7, traded_at = $8, traded_pair = $9, last_used_at = $8, ip = $10
            where id = $1 and refresh_jti = $2 and ended_at is null"#,
        trade.id.0,
        trade.old.0,
        trade.refresh_jti.0,
        trade.access_jti.0,
        trade.access_expires_at.to_sqlx() as _,
        trade.expires_at.to_sqlx() as _,
        trade.client.fingerprint(),
        now.to_sqlx() as _,
        trade.pair,
        trade.client.ip,
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(Error::NotFound) }
}

/// A session that was ended, and what of it may still be alive.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Session.
    pub id: SessionId,
    /// Its newest access token.
    pub access_jti: TokenId,
    /// When that expires; older ones of the session expire before.
    pub access_expires_at: Timestamp,
}

/// Which live sessions end, and why.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Account.
    pub user: UserId,
    /// That one alone.
    pub only: Option<SessionId>,
    /// All but that one.
    pub except: Option<SessionId>,
    /// The constant of the reason.
    pub reason: &'a str,
    /// The time now.
    pub now: Timestamp,
    /// As of when a session has expired; see [`crate::App::live_after`].
    pub live_after: Timestamp,
}

/// Ends live sessions.
///
/// # Errors
/// When the database fails.
pub async fn end(conn: &mut PgConnection, end: End<'_>) -> Result<Vec<Ended>, Error> {
    Ok(sqlx::query_as!(
        Ended,
        r#"update auth.sessions set ended_at = $5, end_reason = $4, traded_pair = null
            where user_id = $1 and ended_at is null and expires_at > $6
              and ($2::uuid is null or id = $2) and ($3::uuid is null or id <> $3)
        returning id, access_jti, access_expires_at as "access_expires_at: jiff_sqlx::Timestamp""#,
        end.user.0,
        end.only.map(|id| id.0),
        end.except.map(|id| id.0),
        end.reason,
        end.now.to_sqlx() as _,
        end.live_after.to_sqlx() as _,
    )
    .fetch_all(conn)
    .await?)
}

/// Live sessions of `user` beyond the `most` that were used last, oldest last. Administrators' are not counted: they live
/// for minutes.
///
/// # Errors
/// When the database fails.
pub async fn beyond(
    conn: &mut PgConnection,
    user: UserId,
    most: i64,
    live_after: Timestamp,
) -> Result<Vec<SessionId>, Error> {
    let ids = sqlx::query_scalar!(
        r#"select id from auth.sessions
            where user_id = $1 and audience = 'user' and ended_at is null and expires_at > $2
            order by last_used_at desc, id desc offset $3"#,
        user.0,
        live_after.to_sqlx() as _,
        most,
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(SessionId).collect())
}

/// A live session, as its owner sees it.
#[derive(Debug, Clone)]
pub struct Live {
    /// Session.
    pub id: SessionId,
    /// Newest access token.
    pub access_jti: TokenId,
    /// Shown name of the device.
    pub device_name: String,
    /// Address at the last use.
    pub ip: String,
    /// User agent at sign-in.
    pub user_agent: String,
    /// When it began.
    pub created_at: Timestamp,
    /// Last sign-in or refresh.
    pub last_used_at: Timestamp,
    /// When it ends unless refreshed.
    pub expires_at: Timestamp,
}

/// Live sessions of `user`, newest first, from below `before`.
///
/// # Errors
/// When the database fails.
pub async fn list(
    db: impl PgExecutor<'_>,
    user: UserId,
    before: Option<Uuid>,
    limit: i64,
    live_after: Timestamp,
) -> Result<Vec<Live>, Error> {
    Ok(sqlx::query_as!(
        Live,
        r#"select id, access_jti, device_name, ip, user_agent, created_at as "created_at: jiff_sqlx::Timestamp",
                  last_used_at as "last_used_at: jiff_sqlx::Timestamp", expires_at as "expires_at: jiff_sqlx::Timestamp"
             from auth.sessions
            where user_id = $1 and ended_at is null and expires_at > $2 and ($3::uuid is null or id < $3)
            order by id desc limit $4"#,
        user.0,
        live_after.to_sqlx() as _,
        before,
        limit,
    )
    .fetch_all(db)
    .await?)
}

/// A live session, as who watches it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Session.
    pub id: SessionId,
    /// Account.
    pub user_id: UserId,
    /// Names of the account's roles.
    pub roles: Vec<String>,
    /// The account's age state.
    pub age_state: String,
    /// Shown name of the device.
    pub device_name: String,
    /// When it began.
    pub created_at: Timestamp,
    /// Other live sessions of the account.
    pub others: i64,
}

/// Those of `ids` that are live, in no order.
///
/// # Errors
/// When the database fails.
pub async fn watched(db: impl PgExecutor<'_>, ids: &[Uuid], live_after: Timestamp) -> Result<Vec<Watched>, Error> {
    Ok(sqlx::query_as!(
        Watched,
        r#"select s.id, s.user_id, u.roles, u.age_state, s.device_name,
                  s.created_at as "created_at: jiff_sqlx::Timestamp",
                  (select count(*) from auth.sessions o
                    where o.user_id = s.user_id and o.id <> s.id and o.ended_at is null and o.expires_at > $2) as "others!"
             from auth.sessions s join auth.users u on u.id = s.user_id
            where s.id = any($1) and s.ended_at is null and s.expires_at > $2"#,
        ids,
        live_after.to_sqlx() as _,
    )
    .fetch_all(db)
    .await?)
}

/// The live session of `user` that a token of it names: by its newest access token.
///
/// # Errors
/// When the database fails.
pub async fn by_token(db: impl PgExecutor<'_>, user: UserId, jti: TokenId) -> Result<Option<SessionId>, Error> {
    let id = sqlx::query_scalar!(
        "select id from auth.sessions where user_id = $1 and access_jti = $2 and ended_at is null",
        user.0,
        jti.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(id.map(SessionId))
}

/// A session of `user` has not been ended. Lock the account first: who ends sessions does.
///
/// # Errors
/// When the database fails.
pub async fn is_open(db: impl PgExecutor<'_>, user: UserId, id: SessionId) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from auth.sessions where id = $1 and user_id = $2 and ended_at is null) as "open!""#,
        id.0,
        user.0,
    )
    .fetch_one(db)
    .await?)
}

/// How many sessions are live, for the gauge.
///
/// # Errors
/// When the database fails.
pub async fn count_live(db: impl PgExecutor<'_>, live_after: Timestamp) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from auth.sessions where ended_at is null and expires_at > $1"#,
        live_after.to_sqlx() as _,
    )
    .fetch_one(db)
    .await?)
}

/// Drops sessions whose time was over before `before`, at most 1,000; answers how many. One that ended early stays until
/// then too: its tokens could still be shown.
///
/// # Errors
/// When the database fails.
pub async fn sweep(db: impl PgExecutor<'_>, before: Timestamp) -> Result<u64, Error> {
    Ok(sqlx::query!(
        r#"delete from auth.sessions where id in
             (select id from auth.sessions where expires_at < $1 order by expires_at limit 1000)"#,
        before.to_sqlx() as _,
    )
    .execute(db)
    .await?
    .rows_affected())
}
