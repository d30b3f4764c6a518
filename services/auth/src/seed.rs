//! Local data: accounts to try things with. Never in production; every constant here is public knowledge.

use coreloop_access::{Role, Roles};
use coreloop_auth_api::v1::AuthReason;
use coreloop_core::UserId;

use crate::{
    App, Client, Error,
    events::{self, Event},
    store::{self, users::NewUser},
    totp,
};

/// Password of every seeded account.
pub const PASSWORD: &str = "correct horse battery";
/// Invite code, good 1,000,000 times.
pub const INVITE: &str = "5858";
/// Address of the seeded administrator.
pub const ADMIN: &str = "admin@coreloop.dev";
/// TOTP secret of the seeded administrator as authenticator apps take it (base32).
pub const TOTP_BASE32: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
/// The bytes of [`TOTP_BASE32`].
pub const TOTP_SECRET: [u8; totp::SECRET_LEN] = *b"Hello!\xde\xad\xbe\xefHello!\xde\xad\xbe\xef";
/// Seeded people: address, nickname, role beside STANDARD.
pub const PEOPLE: [(&str, &str, Role); 5] = [
    ("demo@coreloop.dev", "Demo", Role::Standard),
    ("alice@coreloop.dev", "Alice", Role::Standard),
    ("bob@coreloop.dev", "Bob", Role::Premium),
    ("carol@coreloop.dev", "Carol", Role::Vip),
    (ADMIN, "Admin", Role::Admin),
];

/// Makes what is missing of the local data. All or nothing; done already, it changes nothing.
///
/// # Errors
/// When the database fails.
pub async fn demo(app: &App) -> Result<(), Error> {
    if store::users::find_by_email(&app.db, ADMIN).await?.is_some() {
        return Ok(());
    }
    match make(app).await {
        // Another replica was faster.
        Err(Error::Refused(AuthReason::EmailTaken | AuthReason::InviteExists)) => Ok(()),
        other => other,
    }
}

async fn make(app: &App) -> Result<(), Error> {
    let hash = app.hasher.hash(PASSWORD.to_owned()).await?;
    let now = app.now();
    let mut tx = app.begin().await?;
    let mut admin = None;
    for (email, nickname, role) in PEOPLE {
        let id = UserId(app.ids.uuid());
        let new = NewUser { id, nickname, email: Some(email), email_verified: true, profile_image_url: "" };
        store::users::insert(&mut tx, &new, now).await?;
        store::users::set_password(&mut tx, id, &hash, now).await?;
        store::admins::set_roles(&mut tx, id, Roles::NONE.with(Role::Standard).with(role), now).await?;
        let registered = Event::UserRegistered { method: "seed".to_owned() };
        events::record(app, &mut tx, id, &Client::default(), &[registered]).await?;
        admin = Some(id);
    }
    // The administrator is the last of them.
    if let Some(id) = admin {
        let sealed = app.vault.seal(&id.to_string(), &TOTP_SECRET)?;
        store::totp::set(&mut tx, id, &sealed, &[], now).await?;
        store::invites::insert(&mut *tx, INVITE, 1_000_000, None, id, now).await?;
    }
    tx.commit().await?;
    tracing::info!(accounts = PEOPLE.len(), "local data seeded");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_the_base32_that_the_readme_prints() {
        let url = totp::address(&TOTP_SECRET, ADMIN).unwrap();
        assert!(url.contains(&format!("secret={TOTP_BASE32}")), "{url}");
    }

    #[test]
    fn the_seeded_password_would_be_admitted() {
        crate::password::check_new(PASSWORD).unwrap();
    }
}
