//! Whom a token speaks for, and whether that is enough.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Caller, Denied, Gate, Role, RpcPolicy,
    cache::{Entry, Fingerprint, Who},
    keys::Key,
    policy::Level,
    revocation::{Verdict, known::Question},
    token::{Claims, Invalid, TokenKind, VerifyError, verify},
};

/// A caller who may.
pub(super) struct Judged {
    pub(super) caller: Caller,
    pub(super) degraded: bool,
}

impl Gate {
    /// Judges a token for an RPC.
    pub(super) async fn judge(&self, token: &[u8], rpc: &RpcPolicy) -> Result<Judged, Denied> {
        let entry = self.entry(token).await?;
        let question = question(&entry);
        if self.revocations.knows(&question) {
            return Err(Denied::TokenRevoked);
        }
        admit(rpc, &entry)?;
        let degraded = if self.revocations.is_live() {
            false
        } else {
            // Off the hot path: its future is boxed so that the usual one stays small.
            Box::pin(self.ask(&question, rpc)).await?
        };
        Ok(Judged { caller: entry.caller(), degraded })
    }

    /// A token that counts, but for revocations and the call's level.
    pub(super) async fn entry(&self, token: &[u8]) -> Result<Entry, Denied> {
        let fingerprint = Fingerprint::of(token);
        match self.recall(&fingerprint) {
            Some(entry) => Ok(entry),
            None => Box::pin(self.verify_anew(token, fingerprint)).await,
        }
    }

    /// A token verified before, if it still counts: its time and its key are looked at on every hit.
    fn recall(&self, fingerprint: &Fingerprint) -> Option<Entry> {
        let entry = self.cache.get(fingerprint)?;
        let (now, leeway) = (self.clock.unix(), self.rules.leeway_secs());
        let in_time = now < i64::from(entry.expires_at) + leeway && i64::from(entry.not_before) <= now + leeway;
        if in_time && self.keys.holds(entry.key_serial) {
            self.metrics.cache_hits.inc();
            return Some(entry);
        }
        // Verified anew, it gets the reason that is true now.
        self.cache.remove(fingerprint);
        None
    }

    async fn verify_anew(&self, token: &[u8], fingerprint: Fingerprint) -> Result<Entry, Denied> {
        self.metrics.cache_misses.inc();
        let (claims, key) = self.verify(token).await?;
        if claims.kind == TokenKind::Refresh {
            return Err(Denied::TokenInvalid(Invalid::Kind));
        }
        let entry = Entry::new(&claims, key.serial());
        self.cache.insert(fingerprint, entry.clone());
        Ok(entry)
    }

    /// Verifies the signature and the registered claims of a token of any kind, and looks for its key if that is not known yet.
    /// Says nothing of revocations.
    ///
    /// # Errors
    /// [`Denied::TokenExpired`], [`Denied::TokenInvalid`], [`Denied::KeysUnknown`].
    pub async fn verify(&self, token: &[u8]) -> Result<(Claims, Arc<Key>), Denied> {
        let since = Instant::now();
        let mut outcome = verify(token, &self.rules, &self.keys, self.clock.unix());
        if matches!(outcome, Err(VerifyError::Invalid(Invalid::UnknownKey)))
            && self.keys.refresh_for_unknown(since).await
        {
            outcome = verify(token, &self.rules, &self.keys, self.clock.unix());
        }
        outcome.map_err(|error| match error {
            VerifyError::Expired => Denied::TokenExpired,
            // Without any key nobody can be known; that is our trouble and not the caller's.
            VerifyError::Invalid(Invalid::UnknownKey) if self.keys.is_empty() => Denied::KeysUnknown,
            VerifyError::Invalid(invalid) => Denied::TokenInvalid(invalid),
        })
    }

    /// Asks Redis while the stream is late. Answers whether the call goes on with less than it should know (chapter 01).
    async fn ask(&self, question: &Question, rpc: &RpcPolicy) -> Result<bool, Denied> {
        match self.revocations.ask(question).await {
            Verdict::Clear => Ok(false),
            Verdict::Revoked => Err(Denied::TokenRevoked),
            Verdict::Unknown(Some(blind)) if self.bears(rpc.fresh, blind) => {
                self.metrics.degraded.inc();
                Ok(true)
            }
            Verdict::Unknown(_) => Err(Denied::RevocationUnknown),
        }
    }

    /// A call may go on although revocations could not be read for `blind`.
    pub(super) fn bears(&self, fresh: bool, blind: Duration) -> bool {
        blind < self.blind_limit && (!fresh || blind < self.blind_after)
    }
}

/// What is asked of the revocations about a token.
pub(super) fn question(entry: &Entry) -> Question {
    Question {
        token: entry.id,
        user: match entry.who {
            Who::User(id, session) => Some((id, session)),
            Who::Machine(_) => None,
        },
        issued_at: entry.issued_at.into(),
    }
}

/// The caller's standing is enough for the RPC.
fn admit(rpc: &RpcPolicy, entry: &Entry) -> Result<(), Denied> {
    if let Who::Machine(peer) = &entry.who {
        // A token for another service is no token here, whatever the level.
        if *peer.target != *rpc.target {
            return Err(Denied::TokenInvalid(Invalid::Audience));
        }
    }
    let (kind, role) = match rpc.level {
        Level::Public | Level::Optional => return Ok(()),
        Level::Unspecified => return Err(Denied::NoPolicy),
        Level::Standard => (TokenKind::Access, Role::Standard),
        Level::Premium => (TokenKind::Access, Role::Premium),
        Level::Vip => (TokenKind::Access, Role::Vip),
        Level::Admin => (TokenKind::Admin, Role::Admin),
        Level::Internal => (TokenKind::Internal, Role::Internal),
    };
    let is = |kind, role| entry.kind == kind && entry.roles.includes(role);
    if is(kind, role) || (rpc.admins && is(TokenKind::Admin, Role::Admin)) {
        Ok(())
    } else {
        Err(Denied::RoleRequired { role })
    }
}
