//! The revocations in memory: three maps of 20-byte entries, sharded.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use coreloop_core::{SessionId, TokenId, UserId};
use uuid::Uuid;

use super::{Revocation, Revoked};

/// Shards of each map: growing one stops few readers, and its old and new table exist together only there.
const SHARDS: usize = 64;

/// Seconds an entry outlives its expiry, so that leeway never lets a revoked token back in.
const MARGIN_SECS: i64 = 120;

/// Longest life of any token in seconds: how long a user's entry must be kept.
const LONGEST_LIFE_SECS: i64 = 90 * 24 * 3_600;

/// Everything known to be revoked. About 35 bytes an entry, at any number of them.
#[derive(Debug, Default)]
pub struct Known {
    /// jti → expiry.
    tokens: Map,
    /// sid → expiry.
    sessions: Map,
    /// user → last second of issue that is refused.
    users: Map,
}

/// What is asked about a token.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// `jti`.
    pub token: TokenId,
    /// `sub` and `sid` of a user's token.
    pub user: Option<(UserId, SessionId)>,
    /// `iat`.
    pub issued_at: i64,
}

impl Known {
    /// The token is among the revoked. Takes no lock while nothing at all is.
    #[must_use]
    pub fn holds(&self, question: &Question) -> bool {
        if self.tokens.get(question.token.0).is_some() {
            return true;
        }
        let Some((user, session)) = question.user else { return false };
        self.sessions.get(session.0).is_some()
            || self.users.get(user.0).is_some_and(|until| question.issued_at <= i64::from(until))
    }

    /// Adds a revocation; what is already known is only ever extended.
    pub fn add(&self, revocation: &Revocation) {
        let secs = |value: i64| u32::try_from(value.max(0)).unwrap_or(u32::MAX);
        match revocation.what {
            Revoked::Token(id) => self.tokens.raise(id.0, secs(revocation.expires_at)),
            Revoked::Session(id) => self.sessions.raise(id.0, secs(revocation.expires_at)),
            Revoked::User { id, issued_until } => self.users.raise(id.0, secs(issued_until)),
        }
    }

    /// Forgets what no living token can need, as of `now` (Unix seconds).
    pub fn sweep(&self, now: i64) {
        let secs = |value: i64| u32::try_from(value.max(0)).unwrap_or(u32::MAX);
        let ended = secs(now - MARGIN_SECS);
        self.tokens.drop_below(ended);
        self.sessions.drop_below(ended);
        self.users.drop_below(secs(now - MARGIN_SECS - LONGEST_LIFE_SECS));
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len() + self.sessions.len() + self.users.len()
    }

    /// Nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the tables, by the layout of the standard map: a slot and a control byte for each bucket.
    #[must_use]
    pub fn bytes(&self) -> usize {
        [&self.tokens, &self.sessions, &self.users].into_iter().map(Map::bytes).sum()
    }
}

type Table = HashMap<[u8; 16], u32, Fold>;

/// Shards of unequal weight. A table holds a power of two of buckets; were all shards alike, all would double at once, and
/// just after that half of the memory would lie empty. From the first shard to the last the share of entries doubles, so
/// that at any time some are nearly full and some half, and a table let go is soon taken by a shard that grows.
#[derive(Debug)]
struct Map {
    shards: Box<[RwLock<Table>]>,
    /// Shard of each value of twelve bits of an id.
    shard_of: Box<[u8]>,
    len: AtomicUsize,
}

/// Values of the bits that choose the shard.
const SLICES: usize = 1 << 12;

impl Default for Map {
    fn default() -> Self {
        // Where the logarithm to base two of 1 + slice / SLICES, which goes from 0 to 1, passes each 64th.
        let end = |shard: usize| ((shard + 1) as f64 / SHARDS as f64).exp2() - 1.0;
        let shard_of = (0..SLICES).scan(0, |shard, slice| {
            while *shard + 1 < SHARDS && slice as f64 >= end(*shard) * SLICES as f64 {
                *shard += 1;
            }
            u8::try_from(*shard).ok()
        });
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            shard_of: shard_of.collect(),
            len: AtomicUsize::new(0),
        }
    }
}

impl Map {
    fn shard(&self, id: Uuid) -> Option<&RwLock<Table>> {
        // Bits that the hash below spreads elsewhere, so a shard's table is not crowded.
        let slice = id.as_bytes().iter().rev().take(2).fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        self.shards.get(usize::from(*self.shard_of.get(slice % SLICES)?))
    }

    fn get(&self, id: Uuid) -> Option<u32> {
        if self.len.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.shard(id)?.read().unwrap_or_else(PoisonError::into_inner).get(id.as_bytes()).copied()
    }

    fn raise(&self, id: Uuid, value: u32) {
        let Some(shard) = self.shard(id) else { return };
        let mut table = shard.write().unwrap_or_else(PoisonError::into_inner);
        let before = table.len();
        let entry = table.entry(*id.as_bytes()).or_insert(value);
        *entry = (*entry).max(value);
        self.len.fetch_add(table.len() - before, Ordering::Release);
    }

    fn drop_below(&self, least: u32) {
        for shard in &self.shards {
            let mut table = shard.write().unwrap_or_else(PoisonError::into_inner);
            let before = table.len();
            table.retain(|_, value| *value >= least);
            self.len.fetch_sub(before - table.len(), Ordering::Release);
            if table.capacity() > 64 && table.len() < table.capacity() / 8 {
                table.shrink_to_fit();
            }
        }
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    fn bytes(&self) -> usize {
        let slot = size_of::<([u8; 16], u32)>() + 1;
        let capacity = |shard: &RwLock<Table>| shard.read().unwrap_or_else(PoisonError::into_inner).capacity();
        // The standard map fills seven eighths of a power of two of buckets.
        let buckets = |capacity: usize| if capacity == 0 { 0 } else { (capacity * 8 / 7).next_power_of_two() };
        self.shards.iter().map(|shard| buckets(capacity(shard)) * slot + size_of::<RwLock<Table>>()).sum()
    }
}

/// Hash of an id of ours: its random half, multiplied to reach the top bits. Ids are made by us and signed, so no stranger
/// chooses where they land.
#[derive(Debug, Clone, Copy, Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut low = [0; 8];
        for (to, from) in low.iter_mut().zip(bytes.iter().rev()) {
            *to = *from;
        }
        let product = u128::from(u64::from_le_bytes(low)) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    // The length of a slice, always 16 here.
    fn write_usize(&mut self, _: usize) {}
}

impl BuildHasher for Fold {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use coreloop_core::{Ids as _, id::SystemIds};

    use super::*;

    fn token(n: u128) -> TokenId {
        // As UUIDv7: time in front, randomness behind.
        let random = n.wrapping_mul(0x2545_F491_4F6C_DD1D_9E37_79B9_7F4A_7C15) >> 66;
        TokenId(Uuid::from_u128((0x0198_C0DE_u128 << 96) | (0x7 << 76) | (0b10 << 62) | random))
    }

    fn asked(token: TokenId) -> Question {
        Question { token, user: None, issued_at: 0 }
    }

    #[test]
    fn a_million_fit_in_48_mib() {
        let known = Known::default();
        for n in 0..1_000_000 {
            known.add(&Revocation { what: Revoked::Token(token(n)), expires_at: 2_000_000_000 });
        }
        assert_eq!(known.len(), 1_000_000);
        assert!(known.bytes() <= 36 << 20, "{} bytes", known.bytes());
        assert!((0..1_000_000).step_by(997).all(|n| known.holds(&asked(token(n)))));
        assert!((1_000_000..1_001_000).all(|n| !known.holds(&asked(token(n)))));
    }

    /// No number of entries is an unlucky one.
    #[test]
    fn an_entry_costs_much_the_same_at_any_number() {
        let known = Known::default();
        let mut most = 0;
        for n in 1..=400_000_usize {
            known.add(&Revocation { what: Revoked::Token(token(n as u128)), expires_at: 2_000_000_000 });
            if n >= 100_000 && n.is_multiple_of(1_000) {
                most = most.max(known.bytes() / n);
            }
        }
        assert!((24..=38).contains(&most), "{most} bytes each");
        let sizes: Vec<_> = known.tokens.shards.iter().map(|shard| shard.read().unwrap().len()).collect();
        assert!(sizes.iter().all(|size| (4_000..10_500).contains(size)), "{sizes:?}");
    }

    #[test]
    fn entries_go_after_their_time_and_not_before() {
        let known = Known::default();
        let user = UserId(SystemIds.uuid());
        known.add(&Revocation { what: Revoked::Token(token(1)), expires_at: 1_000 });
        known.add(&Revocation { what: Revoked::User { id: user, issued_until: 1_000 }, expires_at: 1_900 });
        known.sweep(1_000 + MARGIN_SECS);
        assert_eq!(known.len(), 2);
        known.sweep(1_001 + MARGIN_SECS);
        assert_eq!(known.len(), 1);
        let question = Question { token: token(2), user: Some((user, SessionId(SystemIds.uuid()))), issued_at: 1_000 };
        assert!(known.holds(&question));
        assert!(!known.holds(&Question { issued_at: 1_001, ..question }));
        known.sweep(1_001 + MARGIN_SECS + LONGEST_LIFE_SECS);
        assert!(known.is_empty());
    }

    #[test]
    fn the_latest_word_on_a_user_counts() {
        let known = Known::default();
        let id = UserId(SystemIds.uuid());
        for issued_until in [2_000, 1_000] {
            known.add(&Revocation { what: Revoked::User { id, issued_until }, expires_at: 3_000 });
        }
        assert!(known.holds(&Question {
            token: token(1),
            user: Some((id, SessionId(SystemIds.uuid()))),
            issued_at: 1_999
        }));
        assert_eq!(known.len(), 1);
    }
}
