//! Sliding-window rate limits declared by descriptors, decided in Redis, approximated locally without it.
//!
//! An RPC's `rate_limit` option says its windows and who is counted; besides, an anonymous address has a budget over the
//! whole API (chapter 07). One Lua script looks at every window that a call touches and counts the call only if all have
//! room, so parallel calls through any number of replicas never get more than the limit, and a refused call costs nothing.
//! The window is exact: the times of the admitted calls are kept (`rl:{endpoint}:{subject}`, one sorted set), not buckets.
//!
//! While Redis is away or slow a local limiter of the same rates holds for each process. It is approximate: replicas do not
//! know of each other, and it refills evenly (GCRA).

mod limiter;
mod local;
mod options;
mod plan;
mod script;

pub use limiter::{Headers, Limited, Limiter, Subject};
pub use options::Options;
