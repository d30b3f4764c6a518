//! Rules of passwords and addresses (NIST SP 800-63B, 5.1.1.2), and the guarded verification of a password.

use std::sync::LazyLock;

use coreloop_auth_api::v1::AuthReason;
use coreloop_core::Violation;
use unicode_normalization::UnicodeNormalization as _;

use crate::{App, Client, Error, guard::Account};

/// Fewest characters of a new password.
pub const MIN_CHARS: usize = 8;
/// Most characters of a new password.
pub const MAX_CHARS: usize = 128;

/// Breached passwords, lower case, sorted, one a line; all shorter than [`MIN_CHARS`] are left out.
static BREACHED: LazyLock<Vec<&'static str>> = LazyLock::new(|| include_str!("breached.txt").lines().collect());

/// Admits a new password: its length in characters, and that attackers do not try it first. There are no composition
/// rules.
///
/// # Errors
/// `VALIDATION_FAILED` for the length, `PASSWORD_BREACHED`.
pub fn check_new(password: &str) -> Result<(), Error> {
    let chars = password.chars().count();
    if !(MIN_CHARS..=MAX_CHARS).contains(&chars) {
        return Err(Error::Invalid(vec![Violation {
            field: "password".to_owned(),
            description: format!("must have {MIN_CHARS} to {MAX_CHARS} characters"),
        }]));
    }
    if breached(password) { Err(AuthReason::PasswordBreached.into()) } else { Ok(()) }
}

fn breached(password: &str) -> bool {
    let folded = password.nfkc().collect::<String>().to_lowercase();
    let mut chars = folded.chars();
    let first = chars.next();
    // One character over and over is in every list, at any length.
    chars.all(|c| Some(c) == first) || BREACHED.binary_search(&folded.as_str()).is_ok()
}

/// An address as it is stored and compared: NFC, trimmed, lower case.
#[must_use]
pub fn normalise_email(email: &str) -> String {
    email.trim().nfc().collect::<String>().to_lowercase()
}

/// A password as it is hashed: NFC, so that the same keys on another system make the same password (NIST 800-63B).
#[must_use]
pub fn normalise(password: &str) -> String {
    password.nfc().collect()
}

/// Hashes a new password.
///
/// # Errors
/// As [`check_new`]; [`Error::Overloaded`].
pub async fn hash_new(app: &App, password: &str) -> Result<String, Error> {
    check_new(password)?;
    app.hasher.hash(normalise(password)).await
}

/// Verifies `password` for `account`: the try is counted before it is evaluated, and settled after. One that could not be
/// evaluated was no guess and is not counted.
///
/// # Errors
/// `INVALID_CREDENTIALS`, [`Error::Locked`], [`Error::AddressLimited`], [`Error::Overloaded`].
pub async fn verify_guarded(
    app: &App,
    account: &Account,
    password: &str,
    phc: Option<&str>,
    client: &Client,
) -> Result<(), Error> {
    let attempt = app.guard.begin(app, account, client).await?;
    let outcome = verify(app, password, phc, client).await;
    app.guard.settle(app, attempt, client, outcome).await
}

async fn verify(app: &App, password: &str, phc: Option<&str>, client: &Client) -> Result<(), Error> {
    if !app.hasher.verify(normalise(password), phc.map(ToOwned::to_owned)).await? {
        return Err(AuthReason::InvalidCredentials.into());
    }
    app.guard.admits(&app.db, client, app.now()).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::short("1234567", "VALIDATION_FAILED")]
    #[case::long(&"x1".repeat(65), "VALIDATION_FAILED")]
    #[case::listed("password1", "PASSWORD_BREACHED")]
    #[case::listed_in_capitals("PassWord1", "PASSWORD_BREACHED")]
    #[case::full_width("ｐａｓｓｗｏｒｄ１", "PASSWORD_BREACHED")]
    #[case::one_character("zzzzzzzzzzzz", "PASSWORD_BREACHED")]
    #[case::korean_keyboard("qwer1234", "PASSWORD_BREACHED")]
    fn refused(#[case] password: &str, #[case] outcome: &str) {
        assert_eq!(check_new(password).unwrap_err().outcome(), outcome);
    }

    #[rstest]
    #[case("correct horse battery")]
    #[case("비밀번호를 길게 쓰기")]
    #[case("kx7 vq2!")]
    fn admitted(#[case] password: &str) {
        check_new(password).unwrap();
    }

    #[test]
    fn the_list_is_sorted_folded_and_long() {
        assert!(BREACHED.len() > 3_000, "{}", BREACHED.len());
        assert!(BREACHED.is_sorted());
        assert!(BREACHED.iter().all(|p| p.chars().count() >= MIN_CHARS && **p == p.to_lowercase()));
    }

    #[rstest]
    #[case("  Alice@Example.COM ", "alice@example.com")]
    #[case("u\u{308}@x.de", "ü@x.de")]
    fn addresses_fold(#[case] from: &str, #[case] to: &str) {
        assert_eq!(normalise_email(from), to);
    }

    proptest! {
        #[test]
        fn folding_an_address_twice_is_folding_it_once(email in "\\PC{0,40}") {
            let once = normalise_email(&email);
            prop_assert_eq!(normalise_email(&once), once);
        }
    }
}
