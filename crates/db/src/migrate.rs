//! Roles, schemas and migrations: one of each a service.

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, migrate::Migrator};

use crate::{DbError, Options, lease, pool};

/// `name`, if it may be written into SQL, which takes no parameters for names: lower-case letters, digits and `_`, at most 63.
///
/// # Errors
/// [`DbError::Name`].
pub fn identifier(name: &str) -> Result<&str, DbError> {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 63
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { Ok(name) } else { Err(DbError::Name(name.to_owned())) }
}

/// Makes the role and schema of `service` in the database of `admin_url`, if they are not there. Safe to run at the same
/// time from many processes.
///
/// # Errors
/// What Postgres says: no such database, a role that may not create roles.
pub async fn bootstrap(
    admin_url: &SecretString,
    service: &str,
    password: Option<&SecretString>,
) -> Result<(), DbError> {
    let service = identifier(service)?;
    let options = pool::parse(admin_url).map_err(|text| DbError::Sqlx(sqlx::Error::Configuration(text.into())))?;
    let mut admin = PgConnection::connect_with(&options).await?;
    let done = make(&mut admin, service, password).await;
    let _nothing_left_to_lose = admin.close().await;
    done
}

async fn make(admin: &mut PgConnection, service: &str, password: Option<&SecretString>) -> Result<(), DbError> {
    let ready: Option<(bool, bool)> = sqlx::query_as(
        "select rolcanlogin, exists (select from pg_namespace where nspname = $1 and nspowner = pg_roles.oid)
         from pg_roles where rolname = $1",
    )
    .bind(service)
    .fetch_optional(&mut *admin)
    .await?;
    if ready == Some((true, true)) && password.is_none() {
        return Ok(());
    }
    // Roles belong to the whole cluster: the lock of one database would not keep two databases' starts apart, so a
    // loser of the race finds the role there and goes on.
    let mut tx = admin.begin().await?;
    lock(&mut tx, "coreloop.bootstrap").await?;
    let statements = [
        format!(
            "do $$ begin create role {service} login; exception when duplicate_object or unique_violation then null; end $$"
        ),
        format!("create schema if not exists {service} authorization {service}"),
        format!("revoke all on schema {service} from public"),
    ];
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *tx).await?;
    }
    if let Some(password) = password {
        set_password(&mut tx, service, password).await?;
    }
    Ok(tx.commit().await?)
}

/// DDL takes no parameters: the server quotes the password for us, so that no character of it can end the literal.
async fn set_password(tx: &mut PgConnection, service: &str, password: &SecretString) -> Result<(), DbError> {
    let (statement,): (String,) = sqlx::query_as("select format('alter role %I password %L', $1, $2)")
        .bind(service)
        .bind(password.expose_secret())
        .fetch_one(&mut *tx)
        .await?;
    match sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *tx).await {
        Ok(_) => Ok(()),
        // The statement is in the error's detail of some failures; a password is not for logs.
        Err(_) => Err(DbError::Sqlx(sqlx::Error::Configuration(
            format!("the password of role {service} cannot be set").into(),
        ))),
    }
}

async fn lock(connection: &mut PgConnection, name: &str) -> Result<(), DbError> {
    sqlx::query("select pg_advisory_xact_lock($1)").bind(lease::key(name)).execute(connection).await?;
    Ok(())
}

/// Brings the schema of `service` to the head of `migrations`, as its own role, under a lock of its own, so that services
/// migrate at the same time and replicas of one wait for each other. The table of what was applied is
/// `<service>._migrations`.
///
/// # Errors
/// A migration that fails, one that was applied and has changed or is missing here.
pub async fn migrate(options: &Options, service: &str, migrations: &Migrator) -> Result<(), DbError> {
    let service = identifier(service)?;
    // A migration may take longer than any statement of a request.
    let connect =
        pool::connect_options(options, service)?.options([("statement_timeout", "0"), ("lock_timeout", "10000")]);
    let mut connection = PgConnection::connect_with(&connect).await?;
    let done = run(&mut connection, service, migrations).await;
    let _nothing_left_to_lose = connection.close().await;
    done
}

async fn run(connection: &mut PgConnection, service: &str, migrations: &Migrator) -> Result<(), DbError> {
    let name = format!("coreloop.migrate.{service}");
    sqlx::query("select pg_advisory_lock($1)").bind(lease::key(&name)).execute(&mut *connection).await?;
    let mut migrator = Migrator { migrations: migrations.migrations.clone(), ..Migrator::DEFAULT };
    migrator.set_locking(false);
    migrator.dangerous_set_table_name(format!("{service}._migrations"));
    // The lock goes with the connection.
    migrator
        .run_direct(None, connection, false)
        .await
        .map_err(|source| DbError::Migrate { schema: service.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_reach_ddl() {
        assert!(identifier("auth").is_ok());
        for name in ["", "Auth", "a-b", "a;drop", "1a", "a\"b", &"a".repeat(64)] {
            assert!(identifier(name).is_err(), "{name}");
        }
    }
}
