//! Second factor of administrators: TOTP (RFC 6238) and recovery codes.
//!
//! SHA-1, six digits, steps of 30 s, one step of drift either way: what every authenticator app speaks. A step is used up
//! by its code, so a code overheard in its 90 s is worthless; the database decides that ([`crate::store::totp`]).
//! Recovery codes are 78 random bits each, so their plain SHA-256 tells nothing and no slow hash is needed.

use aws_lc_rs::digest;
use totp_rs::{Builder, Totp};

use crate::{Error, vault};

/// Bytes of a secret (RFC 4226 recommends 160 bits).
pub const SECRET_LEN: usize = 20;
/// Recovery codes an administrator is given.
pub const RECOVERY_CODES: usize = 10;
/// Shown by authenticator apps.
const ISSUER: &str = "coreloop";
/// Letters of recovery codes: no 0, 1, i, l, o, u to mistake (Crockford's idea).
const ALPHABET: &[u8; 30] = b"23456789abcdefghjkmnpqrstvwxyz";

/// What a person typed as the second factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// Six digits.
    Totp(String),
    /// The digest of a recovery code.
    Recovery(Vec<u8>),
}

impl Typed {
    /// Tells six digits from anything else; spaces and dashes are forgiven.
    #[must_use]
    pub fn of(code: &str) -> Self {
        let code: String = code.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
        if code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()) {
            Self::Totp(code)
        } else {
            Self::Recovery(recovery_hash(&code))
        }
    }
}

/// Digest of a recovery code, without its dashes and in lower case.
#[must_use]
pub fn recovery_hash(code: &str) -> Vec<u8> {
    let code: String = code.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    digest::digest(&digest::SHA256, code.to_lowercase().as_bytes()).as_ref().to_vec()
}

/// The step whose code `code` is at `unix` seconds, if any within one step.
#[must_use]
pub fn step(secret: &[u8], code: &str, unix: i64) -> Option<i64> {
    let totp = build(secret, "").ok()?;
    let step = totp.check(code, u64::try_from(unix).ok()?)?;
    i64::try_from(step).ok()
}

/// The address an authenticator app reads, as `otpauth://totp/coreloop:…`.
///
/// # Errors
/// When the account's name cannot be in one.
pub fn address(secret: &[u8], account: &str) -> Result<String, Error> {
    let refused = |_| Error::Internal("an otpauth address cannot be made".into());
    build(secret, account)?.to_url().map_err(refused)
}

fn build(secret: &[u8], account: &str) -> Result<Totp, Error> {
    Builder::new()
        .with_secret(secret.to_vec())
        .with_skew(1)
        .with_digits(6)
        .with_step_duration(30)
        .with_account_name(account.replace(':', "_"))
        .with_issuer(Some(ISSUER))
        .build()
        .map_err(|_| Error::Internal("the TOTP secret is refused".into()))
}

/// Fresh recovery codes, as `k3m9-x7qp-2htw-9rc4`.
///
/// # Errors
/// When the machine has no randomness.
pub fn recovery_codes() -> Result<Vec<String>, Error> {
    (0..RECOVERY_CODES).map(|_| readable_secret()).collect()
}

/// A fresh secret of 78 bits that people can read out and type.
///
/// # Errors
/// When the machine has no randomness.
pub fn readable_secret() -> Result<String, Error> {
    let bytes = vault::random::<16>()?;
    let letters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 30))).map(|byte| char::from(*byte));
    let letters: Vec<char> = letters.collect();
    Ok(letters.chunks(4).map(String::from_iter).collect::<Vec<_>>().join("-"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, cut to six digits.
    #[test]
    fn the_rfcs_vectors_hold() {
        let secret = b"12345678901234567890";
        for (unix, code, at) in
            [(59, "287082", 1), (1_111_111_109, "081804", 37_037_036), (20_000_000_000, "353130", 666_666_666)]
        {
            assert_eq!(step(secret, code, unix), Some(at), "{unix}");
        }
    }

    #[test]
    fn one_step_of_drift_and_no_more() {
        let secret = b"12345678901234567890";
        // 287082 is the code of step 1: seconds 30 to 59.
        for (unix, step_of) in [(0, Some(1)), (29, Some(1)), (30, Some(1)), (89, Some(1)), (90, None), (150, None)] {
            assert_eq!(step(secret, "287082", unix), step_of, "{unix}");
        }
        assert_eq!(step(secret, "287082", -1), None);
        for broken in ["", "28708", "2870822", "abcdef", "２８７０８２"] {
            assert_eq!(step(secret, broken, 59), None, "{broken}");
        }
    }

    #[test]
    fn recovery_codes_are_long_and_forgive_how_they_are_typed() {
        let codes = recovery_codes().unwrap();
        assert_eq!(codes.len(), RECOVERY_CODES);
        for code in &codes {
            assert_eq!(code.len(), 19, "{code}");
            let sloppy = code.to_uppercase().replace('-', " ");
            assert_eq!(Typed::of(&sloppy), Typed::Recovery(recovery_hash(code)));
        }
        let mut unique = codes.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), codes.len());
    }

    #[test]
    fn an_authenticator_app_can_read_the_address() {
        let address = address(b"12345678901234567890", "root@example.com").unwrap();
        assert!(address.starts_with("otpauth://totp/coreloop:root"), "{address}");
        assert!(address.contains("secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), "{address}");
        assert!(address.contains("issuer=coreloop"), "{address}");
    }

    #[test]
    fn six_digits_are_never_a_recovery_code() {
        assert_eq!(Typed::of("123 456"), Typed::Totp("123456".to_owned()));
        assert!(matches!(Typed::of("1234567"), Typed::Recovery(_)));
    }
}
