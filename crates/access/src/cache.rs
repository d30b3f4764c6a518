//! Tokens verified before, found by the SHA-256 of their bytes.
//!
//! A hit saves the signature check and nothing else: the gate looks at expiry, key and revocation each time. Only verified
//! tokens are put in, so no flood of forged ones evicts a good one. Bounded; about 150 bytes an entry.

use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

use aws_lc_rs::digest;
use coreloop_core::{SessionId, TokenId, UserId};
use quick_cache::{
    OptionsBuilder, UnitWeighter,
    sync::{self, DefaultLifecycle},
};

use crate::{
    Caller, Machine, Roles, User,
    token::{Claims, Subject, TokenKind},
};

/// SHA-256 of a whole token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(token: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, token);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

impl std::hash::Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// The fingerprint is its own hash: nobody chooses where a verified token lands without choosing its SHA-256.
#[derive(Debug, Clone, Copy, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

impl BuildHasher for Identity {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

/// What is remembered of a token: enough to know the caller and to ask again whether it still counts. Copied out on a hit;
/// no allocation for users.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) kind: TokenKind,
    pub(crate) roles: Roles,
    pub(crate) key_serial: u32,
    pub(crate) issued_at: u32,
    pub(crate) not_before: u32,
    pub(crate) expires_at: u32,
    pub(crate) id: TokenId,
    pub(crate) who: Who,
}

#[derive(Debug, Clone)]
pub(crate) enum Who {
    User(UserId, SessionId),
    Machine(Arc<Peer>),
}

/// A machine caller and the service it may call.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) service: Arc<str>,
    pub(crate) target: Arc<str>,
}

impl Entry {
    pub(crate) fn new(claims: &Claims, key_serial: u32) -> Self {
        // Verified times are 32-bit; a value that is not would only make the entry expired.
        let secs = |value: i64| u32::try_from(value).unwrap_or(0);
        Self {
            kind: claims.kind,
            roles: claims.roles,
            key_serial,
            issued_at: secs(claims.issued_at),
            not_before: secs(claims.not_before),
            expires_at: secs(claims.expires_at),
            id: claims.id,
            who: match &claims.subject {
                Subject::User { id, session } => Who::User(*id, *session),
                Subject::Machine(service) => {
                    Who::Machine(Arc::new(Peer { service: Arc::clone(service), target: Arc::clone(&claims.audience) }))
                }
            },
        }
    }

    pub(crate) fn caller(&self) -> Caller {
        match &self.who {
            Who::User(id, session) => Caller::User(User {
                user_id: *id,
                session_id: *session,
                token_id: self.id,
                roles: self.roles,
                admin: self.kind == TokenKind::Admin,
                expires_at: self.expires_at.into(),
            }),
            Who::Machine(peer) => Caller::Machine(Machine {
                service: Arc::clone(&peer.service),
                token_id: self.id,
                expires_at: self.expires_at.into(),
            }),
        }
    }
}

/// The cache.
pub(crate) struct Cache(sync::Cache<Fingerprint, Entry, UnitWeighter, Identity>);

impl Cache {
    /// A cache of at most `entries`; it grows as it fills.
    pub(crate) fn new(entries: usize) -> Self {
        let entries = entries.max(1);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(entries)
            .weight_capacity(entries as u64)
            // Ghosts of evicted entries would cost as much memory as live ones.
            .ghost_allocation(0.05)
            .build();
        match options {
            Ok(options) => {
                Self(sync::Cache::with_options(options, UnitWeighter, Identity(0), DefaultLifecycle::default()))
            }
            Err(_) => {
                Self(sync::Cache::with(entries, entries as u64, UnitWeighter, Identity(0), DefaultLifecycle::default()))
            }
        }
    }

    pub(crate) fn get(&self, fingerprint: &Fingerprint) -> Option<Entry> {
        self.0.get(fingerprint)
    }

    pub(crate) fn insert(&self, fingerprint: Fingerprint, entry: Entry) {
        self.0.insert(fingerprint, entry);
    }

    pub(crate) fn remove(&self, fingerprint: &Fingerprint) {
        self.0.remove(fingerprint);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("entries", &self.len()).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn entry() -> Entry {
        Entry {
            kind: TokenKind::Access,
            roles: Roles::NONE,
            key_serial: 1,
            issued_at: 1,
            not_before: 1,
            expires_at: 2,
            id: TokenId(Uuid::nil()),
            who: Who::User(UserId(Uuid::nil()), SessionId(Uuid::nil())),
        }
    }

    #[test]
    fn a_million_fit_in_200_mib_and_no_more_are_kept() {
        let cache = Cache::new(1_000_000);
        let fill =
            |from: u64, to: u64| (from..to).for_each(|n| cache.insert(Fingerprint::of(&n.to_le_bytes()), entry()));
        fill(0, 1_000_000);
        let full = cache.len();
        assert!(full >= 950_000, "{full}");
        let used = cache.0.memory_used();
        assert!(used.entries + used.map <= 200 << 20, "{used:?}");
        fill(1_000_000, 1_300_000);
        assert!(cache.len() <= 1_010_000, "{}", cache.len());
        let used = cache.0.memory_used();
        assert!(used.entries + used.map <= 200 << 20, "{used:?}");
    }

    #[test]
    fn the_whole_token_counts() {
        let cache = Cache::new(10);
        cache.insert(Fingerprint::of(b"a.b.c"), entry());
        assert!(cache.get(&Fingerprint::of(b"a.b.c")).is_some());
        assert!(cache.get(&Fingerprint::of(b"a.b.d")).is_none());
        cache.remove(&Fingerprint::of(b"a.b.c"));
        assert!(cache.get(&Fingerprint::of(b"a.b.c")).is_none());
    }
}
