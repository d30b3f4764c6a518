//! Keys, good tokens, and the table of bad ones (chapter 09, A1), for the tests of every gate.

mod table;

use std::sync::Arc;

use coreloop_core::{Ids as _, SessionId, TokenId, UserId, id::SystemIds};

use crate::{
    Options, Role, Roles,
    keys::JwkSet,
    token::{Algorithm, Claims, Purpose, SignError, Signer, Subject, TokenKind},
};

pub use table::{Bad, Expect, bad_tokens};

/// Private keys of every purpose, and of every algorithm for users, whose public halves are [`Issuer::jwks`].
#[derive(Debug)]
pub struct Issuer {
    /// The settings that the tokens are made for.
    pub options: Options,
    /// RS256 key for users, the default one.
    pub user: Signer,
    /// ES256 key for users.
    pub user_ec: Signer,
    /// Ed25519 key for users.
    pub user_ed: Signer,
    /// RS256 key for administrators.
    pub admin: Signer,
    /// ES256 key for machines.
    pub internal: Signer,
    /// A key that nobody published, under the name of `user`.
    pub stranger: Signer,
}

impl Issuer {
    /// Makes all keys. Takes a second or two in an unoptimised build: share it between tests.
    ///
    /// # Errors
    /// When the library refuses to make a key.
    pub fn new() -> Result<Self, SignError> {
        Ok(Self {
            options: Options::default(),
            user: Signer::generate("user-1", Algorithm::Rs256, Purpose::User)?,
            user_ec: Signer::generate("user-ec", Algorithm::Es256, Purpose::User)?,
            user_ed: Signer::generate("user-ed", Algorithm::EdDsa, Purpose::User)?,
            admin: Signer::generate("admin-1", Algorithm::Rs256, Purpose::Admin)?,
            internal: Signer::generate("internal-1", Algorithm::Es256, Purpose::Internal)?,
            stranger: Signer::generate("user-1", Algorithm::Rs256, Purpose::User)?,
        })
    }

    /// The published keys.
    ///
    /// # Errors
    /// When a key cannot be encoded.
    pub fn jwks(&self) -> Result<JwkSet, SignError> {
        let signers = [&self.user, &self.user_ec, &self.user_ed, &self.admin, &self.internal];
        Ok(JwkSet { keys: signers.into_iter().map(Signer::jwk).collect::<Result<_, _>>()? })
    }

    /// Claims of a user's access token, good at `now` (Unix seconds) for 15 minutes.
    #[must_use]
    pub fn access(&self, now: i64, roles: &[Role]) -> Claims {
        Claims {
            kind: TokenKind::Access,
            issuer: self.options.issuer.as_str().into(),
            audience: self.options.audience.as_str().into(),
            subject: Subject::User { id: UserId(SystemIds.uuid()), session: SessionId(SystemIds.uuid()) },
            id: TokenId(SystemIds.uuid()),
            roles: roles.iter().copied().collect(),
            issued_at: now,
            not_before: now,
            expires_at: now + 900,
        }
    }

    /// As [`Issuer::access`], a refresh token of 14 days.
    #[must_use]
    pub fn refresh(&self, now: i64) -> Claims {
        let access = self.access(now, &[Role::Standard]);
        Claims { kind: TokenKind::Refresh, expires_at: now + 14 * 86_400, ..access }
    }

    /// As [`Issuer::access`], an administrator's token of 10 minutes.
    #[must_use]
    pub fn admin(&self, now: i64) -> Claims {
        let access = self.access(now, &[Role::Standard, Role::Admin]);
        let audience: Arc<str> = self.options.admin_audience.as_str().into();
        Claims { kind: TokenKind::Admin, audience, expires_at: now + 600, ..access }
    }

    /// Claims of an internal token by which `service` calls `target`.
    #[must_use]
    pub fn internal(&self, now: i64, service: &str, target: &str) -> Claims {
        let issuer = self.options.issuer.as_str().into();
        Claims::internal(issuer, service, target, TokenId(SystemIds.uuid()), now, 300)
    }

    /// Signs claims with the key of their kind.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn sign(&self, claims: &Claims) -> Result<String, SignError> {
        match claims.kind.purpose() {
            Purpose::User => self.user.sign(claims),
            Purpose::Admin => self.admin.sign(claims),
            Purpose::Internal => self.internal.sign(claims),
        }
    }

    /// Good access tokens of every algorithm and role, which every gate must accept where a signed-in user may call.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn good_tokens(&self, now: i64) -> Result<Vec<(&'static str, String)>, SignError> {
        let standard = self.access(now, &[Role::Standard]);
        let vip = Claims { roles: Roles::NONE.with(Role::Vip), ..self.access(now, &[]) };
        let early = Claims {
            issued_at: now + 29,
            not_before: now + 29,
            expires_at: now + 900,
            ..self.access(now, &[Role::Standard])
        };
        let late = Claims {
            issued_at: now - 900,
            not_before: now - 900,
            expires_at: now - 25,
            ..self.access(now, &[Role::Standard])
        };
        Ok(vec![
            ("RS256", self.user.sign(&standard)?),
            ("ES256", self.user_ec.sign(&self.access(now, &[Role::Standard]))?),
            ("EdDSA", self.user_ed.sign(&self.access(now, &[Role::Standard, Role::Premium]))?),
            ("a role that includes the one needed", self.user.sign(&vip)?),
            ("issued within the leeway ahead", self.user.sign(&early)?),
            ("ended within the leeway", self.user.sign(&late)?),
        ])
    }
}
