//! The assertion of a service account, checked as Google's token endpoint does.

use aws_lc_rs::{rsa::KeyPair, signature::KeyPair as _};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

/// What it must be for.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// Longest life of one, and how far clocks may be apart, in seconds.
const LIFE_SECS: i64 = 3_600;
const SKEW_SECS: i64 = 300;

/// What one must say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    /// Who has signed it.
    pub(super) issuer: &'a str,
    /// Who it is shown to.
    pub(super) audience: &'a str,
    /// Seconds since the epoch.
    pub(super) now: i64,
}

/// Why one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    /// Code of OAuth.
    pub(super) error: &'static str,
    /// In words.
    pub(super) why: &'static str,
}

#[derive(Clone, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    #[serde(default)]
    scope: String,
    iat: i64,
    exp: i64,
}

/// The public half of a private key in PEM (PKCS #8); none for what is none.
pub(super) fn public_key(private: &str) -> Option<DecodingKey> {
    let body: String = private.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let pair = KeyPair::from_pkcs8(&STANDARD.decode(body).ok()?).ok()?;
    let public = pair.public_key();
    let (modulus, exponent) = (public.modulus(), public.exponent());
    Some(DecodingKey::from_rsa_raw_components(
        modulus.big_endian_without_leading_zero(),
        exponent.big_endian_without_leading_zero(),
    ))
}

/// Checks one.
///
/// # Errors
/// Why it is refused.
pub(super) fn check(assertion: &str, key: &DecodingKey, expected: &Expected<'_>) -> Result<(), Refused> {
    let grant = |why| Refused { error: "invalid_grant", why };
    // Times and audience are looked at here, with the words that Google has for them.
    let mut rules = Validation::new(Algorithm::RS256);
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_aud = false;
    let read = jsonwebtoken::decode::<Claims>(assertion, key, &rules);
    let claims = read.map_err(|_| grant("Invalid JWT Signature."))?.claims;
    if claims.iss != expected.issuer {
        return Err(grant("Invalid grant: account not found"));
    }
    if claims.aud != expected.audience {
        return Err(grant("Invalid JWT: Failed audience check. The right audience is the token endpoint."));
    }
    let (from, until) = (claims.iat.saturating_sub(SKEW_SECS), claims.exp.saturating_add(SKEW_SECS));
    let timely = (from..=until).contains(&expected.now);
    if !timely || claims.exp.saturating_sub(claims.iat) > LIFE_SECS || claims.exp <= claims.iat {
        return Err(grant(
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp \
             values in the JWT claim.",
        ));
    }
    if !claims.scope.split(' ').any(|scope| scope == SCOPE) {
        let why = "Invalid OAuth scope or ID token audience provided.";
        return Err(Refused { error: "invalid_scope", why });
    }
    Ok(())
}
