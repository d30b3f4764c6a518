//! Revocations: known in memory, streamed from Redis, never forgotten by a restart.
//!
//! Auth records a revocation in Postgres with the act that caused it, then [`RevocationWriter`] puts it in Redis in one
//! atomic script: a key per token for direct questions (`auth:blacklist:{jti}`), a sorted set by expiry that is the
//! snapshot (`auth:revocations:live`), and an entry of the stream `auth:revocations`. Every process follows the stream
//! ([`Revocations::follow`]) into [`known::Known`] and says how far it is under a key that dies with its attention; the
//! writer waits for those keys, so **no replica accepts a token after the call that revoked it returned**: a replica either
//! has read as far, or its attention has lapsed and it asks Redis itself.
//!
//! What a process learns also ends the calls that are open with it: see [`Hold`].
//!
//! `auth:revocations:epoch` says that the snapshot is complete, and names the run of Redis that it holds for (`run_id` of
//! `INFO server`). A Redis that lost its data has no epoch; one that was started again with what it had on disk, or that took
//! another's place, has one of another run, and may lack what was written last. Of neither do replicas believe the silence,
//! though they keep what they know, until auth has rebuilt it from Postgres under a new epoch.

mod holds;
pub mod known;
mod standing;
mod tail;
mod wire;
mod writer;

use coreloop_core::{SessionId, TokenId, UserId};

pub use holds::Hold;
pub use standing::{Revocations, Standing};
pub use writer::{RevocationWriter, Run, WriteError, Written};

pub(crate) use holds::{Slot, Terms, Why};
pub(crate) use standing::Verdict;

/// What is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// One token.
    Token(TokenId),
    /// Every token of a session.
    Session(SessionId),
    /// Every token of a user that was issued in or before this second (Unix). Closed on purpose: a token issued later in
    /// the same second is refused too, so revoke the sessions instead when the user goes on at once.
    User {
        /// User.
        id: UserId,
        /// Last second whose tokens are refused.
        issued_until: i64,
    },
}

/// A revocation, and the Unix second after which no token it speaks of lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// What.
    pub what: Revoked,
    /// When it may be forgotten: the latest expiry of what it speaks of, leeway not counted.
    pub expires_at: i64,
}
