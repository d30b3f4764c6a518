//! Identity: accounts, sign-in, sessions, tokens, keys, roles, and the decision on every request (chapter 01).
//!
//! **What it owns.** The schema `auth`: accounts and their sign-in methods, sessions, signing keys, revocations, the
//! login audit and the history of each account. Nobody else reads it; peers ask over the wire or hear its events.
//!
//! **What it promises.**
//! * *A revoked token is refused everywhere from the answer on.* A revocation is written in the transaction of its cause
//!   and published before the call returns; what could not be published is published by [`revoke`]'s worker, and all of
//!   them again when Redis comes back empty or with older data. Redis is a fast form, Postgres the truth.
//! * *A refresh token is good once.* The session's row is locked, [`refresh`]'s pure rule decides, and the new pair is
//!   kept for ten seconds sealed by the old token itself: only who holds the old token can be answered the same pair.
//! * *Guessing is bounded over all replicas.* A try is counted before it is evaluated ([`guard`]), in Postgres, so neither
//!   parallelism nor a lost Redis buys a guess. Who already signed in with a long device id has a counter of their own,
//!   so strangers cannot lock them out.
//! * *Sign-in does not starve the check.* Argon2id runs on threads of its own, a core each, only where nothing else wants
//!   to run ([`hashing`]).
//! * *A copy of the database signs nobody in.* Secrets are hashed or sealed ([`vault`]).
//! * *Who watches a session sees it change, and end.* Any replica tells all of them what it committed ([`watch`]).
//!
//! **What was rejected.** Opaque sessions looked up per request (a database on the hot path); a table of every refresh
//! token ever issued (the session's newest one tells a replay as well); counting failures in Redis (sign-in would need
//! two stores to be up to be safe); merging accounts by email (whoever controls a mailbox at one provider would take over).

pub mod admin;
pub mod age;
pub mod app;
pub mod audit;
pub mod client;
pub mod error;
pub mod events;
pub mod ext_authz;
pub mod grpc;
pub mod guard;
pub mod hashing;
pub mod keys;
pub mod mail;
pub mod metrics;
pub mod minting;
pub mod module;
pub mod options;
pub mod outside;
pub mod password;
pub mod refresh;
pub mod revoke;
pub mod seed;
pub mod session;
pub mod social;
pub mod store;
pub mod totp;
pub mod vault;
pub mod watch;
pub mod worker;

pub use app::App;
pub use client::Client;
pub use error::Error;
pub use module::{MIGRATIONS, module};
pub use options::Options;
