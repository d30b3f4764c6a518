//! Believing a token, or not (RFC 8725).

use std::sync::Arc;

use coreloop_core::{SessionId, TokenId, UserId};
use serde::{Deserialize, Deserializer, de};
use uuid::{Uuid, Version};

use super::{Claims, Subject, TokenKind, jws};
use crate::{Keys, Options, Role, Roles, keys::Key};

/// Why a token is not believed. For logs, metrics and `explain`; callers learn only that it is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Invalid {
    /// Longer than admitted.
    #[error("longer than admitted")]
    TooLong,
    /// Not three parts of base64url.
    #[error("not three parts of base64url")]
    Shape,
    /// The header is no JSON object of `alg`, `typ` and `kid` alone (so no `crit`, `jku`, `jwk`, `x5u`, `x5c`, `zip`, `b64`).
    #[error("the header is not an object of alg, typ and kid alone")]
    Header,
    /// The `typ` header names no kind of token, or one that is not looked for here.
    #[error("the typ header names no kind of token accepted here")]
    Kind,
    /// No key has this `kid`.
    #[error("no key has this kid")]
    UnknownKey,
    /// `alg` is not the algorithm of the key.
    #[error("alg is not the algorithm of the key")]
    Algorithm,
    /// The key may not sign this kind.
    #[error("the key may not sign this kind of token")]
    KeyPurpose,
    /// The signature is not the key's.
    #[error("the signature is not by the key")]
    Signature,
    /// A claim is missing, given twice or of the wrong type.
    #[error("a claim is missing, given twice or of the wrong type")]
    Claims,
    /// `iss` is another.
    #[error("iss is another")]
    Issuer,
    /// `aud` is another.
    #[error("aud is another")]
    Audience,
    /// The `typ` claim contradicts the header.
    #[error("the typ claim contradicts the header")]
    TypClaim,
    /// `sub` or `sid` is not what the kind needs.
    #[error("sub or sid is not what this kind of token needs")]
    Subject,
    /// `jti` is no UUIDv7.
    #[error("jti is not a UUIDv7")]
    TokenId,
    /// `roles` is empty, names a role twice, an unknown one, or one the kind cannot carry.
    #[error("roles are not what this kind of token carries")]
    Roles,
    /// `iat`, `nbf` and `exp` are out of range, out of order, in the future or too far apart.
    #[error("iat, nbf and exp do not fit together or with the time")]
    Times,
    /// The `authorization` header was sent more than once.
    #[error("the authorization header was sent more than once")]
    TwoHeaders,
    /// The `authorization` header is not `Bearer` and a token.
    #[error("the authorization header is not Bearer and a token")]
    Scheme,
}

/// The outcome of a failed verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Good but for its time.
    #[error("the token has expired")]
    Expired,
    /// Not to be believed.
    #[error("the token is invalid: {0}")]
    Invalid(#[from] Invalid),
}

/// What every token must satisfy.
#[derive(Debug, Clone)]
pub struct Rules {
    issuer: Arc<str>,
    audience: Arc<str>,
    admin_audience: Arc<str>,
    leeway: i64,
    max_bytes: usize,
}

impl Rules {
    /// The rules that the settings state.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            issuer: options.issuer.as_str().into(),
            audience: options.audience.as_str().into(),
            admin_audience: options.admin_audience.as_str().into(),
            leeway: i64::from(options.leeway_secs),
            max_bytes: options.max_token_bytes,
        }
    }

    /// Seconds of clock difference forgiven.
    #[must_use]
    pub fn leeway_secs(&self) -> i64 {
        self.leeway
    }

    /// `iss` of our tokens.
    #[must_use]
    pub fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }

    /// The `aud` of a kind; none for internal tokens, whose audience is the target service.
    #[must_use]
    pub fn audience(&self, kind: TokenKind) -> Option<&Arc<str>> {
        match kind {
            TokenKind::Access | TokenKind::Refresh => Some(&self.audience),
            TokenKind::Admin => Some(&self.admin_audience),
            TokenKind::Internal => None,
        }
    }
}

/// Longest life of a kind in seconds: a token that claims more was not made by us.
fn longest_life(kind: TokenKind) -> i64 {
    const HOUR: i64 = 3_600;
    match kind {
        TokenKind::Access => 24 * HOUR,
        TokenKind::Refresh => 90 * 24 * HOUR,
        TokenKind::Admin | TokenKind::Internal => HOUR,
    }
}

/// Believes a token of any kind, as of `now` (Unix seconds). Answers the claims and the key that signed it.
///
/// For an internal token the caller compares the audience with the service it protects.
///
/// # Errors
/// [`VerifyError::Expired`] only when everything else is right.
pub fn verify(token: &[u8], rules: &Rules, keys: &Keys, now: i64) -> Result<(Claims, Arc<Key>), VerifyError> {
    if token.len() > rules.max_bytes {
        return Err(Invalid::TooLong.into());
    }
    let parts = jws::split(token)?;
    let header: Header<'_> = serde_json::from_slice(&parts.header).map_err(|_| Invalid::Header)?;
    let kind = TokenKind::of_header(header.typ).ok_or(Invalid::Kind)?;
    let key = keys.get(header.kid).ok_or(Invalid::UnknownKey)?;
    if header.alg != key.algorithm().as_str() {
        return Err(Invalid::Algorithm.into());
    }
    if key.purpose() != kind.purpose() {
        return Err(Invalid::KeyPurpose.into());
    }
    if !key.verifies(parts.message, &parts.signature) {
        return Err(Invalid::Signature.into());
    }
    let payload = jws::decode(parts.payload)?;
    let payload: Payload<'_> = serde_json::from_slice(&payload).map_err(|_| Invalid::Claims)?;
    let claims = payload.check(kind, rules)?;
    check_times(&claims, rules.leeway, now)?;
    Ok((claims, key))
}

/// A closed list: any other member, and any member twice, is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

/// Claims by their wire types. Unknown claims are ignored (RFC 7519 section 4), known ones given twice are refused.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: u32,
    iat: u32,
    nbf: u32,
    jti: &'a str,
    #[serde(deserialize_with = "roles")]
    roles: Roles,
    typ: &'a str,
    #[serde(default)]
    sid: Option<&'a str>,
}

impl Payload<'_> {
    fn check(&self, kind: TokenKind, rules: &Rules) -> Result<Claims, Invalid> {
        if *self.iss != *rules.issuer {
            return Err(Invalid::Issuer);
        }
        let audience = match rules.audience(kind) {
            Some(expected) if **expected == *self.aud => Arc::clone(expected),
            None if is_service(self.aud) => self.aud.into(),
            _ => return Err(Invalid::Audience),
        };
        if self.typ != kind.claim_typ() {
            return Err(Invalid::TypClaim);
        }
        check_roles(kind, self.roles)?;
        Ok(Claims {
            kind,
            issuer: Arc::clone(&rules.issuer),
            audience,
            subject: self.subject(kind)?,
            id: TokenId(
                canonical(self.jti).filter(|id| id.get_version() == Some(Version::SortRand)).ok_or(Invalid::TokenId)?,
            ),
            roles: self.roles,
            issued_at: self.iat.into(),
            not_before: self.nbf.into(),
            expires_at: self.exp.into(),
        })
    }

    fn subject(&self, kind: TokenKind) -> Result<Subject, Invalid> {
        match (kind, self.sid) {
            (TokenKind::Internal, None) if is_service(self.sub) => Ok(Subject::Machine(self.sub.into())),
            (TokenKind::Internal, _) | (_, None) => Err(Invalid::Subject),
            (_, Some(sid)) => {
                let id = canonical(self.sub).filter(|id| !id.is_nil()).ok_or(Invalid::Subject)?;
                let session = canonical(sid).filter(|id| !id.is_nil()).ok_or(Invalid::Subject)?;
                Ok(Subject::User { id: UserId(id), session: SessionId(session) })
            }
        }
    }
}

fn check_roles(kind: TokenKind, roles: Roles) -> Result<(), Invalid> {
    let fits = match kind {
        TokenKind::Access | TokenKind::Refresh => !roles.is_empty() && !roles.has(Role::Internal),
        TokenKind::Admin => roles.has(Role::Admin) && !roles.has(Role::Internal),
        TokenKind::Internal => roles == Roles::NONE.with(Role::Internal),
    };
    if fits { Ok(()) } else { Err(Invalid::Roles) }
}

fn check_times(claims: &Claims, leeway: i64, now: i64) -> Result<(), VerifyError> {
    let Claims { issued_at, not_before, expires_at, .. } = *claims;
    let ordered = issued_at <= expires_at && not_before < expires_at && not_before >= issued_at - leeway;
    let short = expires_at - issued_at <= longest_life(claims.kind);
    let begun = issued_at > 0 && issued_at <= now + leeway && not_before <= now + leeway;
    if !(ordered && short && begun) {
        return Err(Invalid::Times.into());
    }
    if now >= expires_at + leeway { Err(VerifyError::Expired) } else { Ok(()) }
}

/// A UUID in its one canonical spelling: 36 lower-case characters with hyphens.
fn canonical(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    let mut buffer = Uuid::encode_buffer();
    (text == &*id.hyphenated().encode_lower(&mut buffer)).then_some(id)
}

/// The name may be a service's in a token: lower-case letters, digits, hyphens and underscores, at most 63.
#[must_use]
pub fn is_service(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_')
}

/// Reads the `roles` claim: known names, none twice.
fn roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Roles, D::Error> {
    struct Names;
    impl<'de> de::Visitor<'de> for Names {
        type Value = Roles;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of role names")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut names: A) -> Result<Roles, A::Error> {
            let mut roles = Roles::NONE;
            while let Some(name) = names.next_element::<&str>()? {
                let role = Role::parse(name).ok_or_else(|| de::Error::custom("an unknown role"))?;
                if roles.has(role) {
                    return Err(de::Error::custom("a role twice"));
                }
                roles = roles.with(role);
            }
            Ok(roles)
        }
    }
    deserializer.deserialize_seq(Names)
}
