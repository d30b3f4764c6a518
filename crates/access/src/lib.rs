//! Who calls and whether they may: one decision path for REST and gRPC, at the edge and in every service.
//!
//! [`Gate`] is the whole of it. It finds the RPC that a request would reach (REST paths through the very matcher that the
//! edge routes with, gRPC paths as they are), reads the RPC's access option from the descriptors ([`Policy`]), believes or
//! refuses the token ([`token`], [`keys::Keys`]), and asks whether it was revoked ([`Revocations`]). **What no option admits is
//! denied.** Envoy's `ext_authz` and the layers of each service call the same two functions, so a service reached past
//! Envoy is as closed.
//!
//! A token seen before is found in a cache by the SHA-256 of its bytes, and its expiry, its key and its revocation are
//! looked at on every hit; only verified tokens enter, so forged ones evict nothing. Revocations come to memory by a Redis
//! stream; Redis itself is asked only while the stream is late, and when neither answers, calls whose option says `fresh`
//! are refused first and all others after five minutes (chapter 01).
//!
//! A call whose answer is a stream holds on to its admission ([`Gate::hold`]) and is told when it ends.
//!
//! Rejected: verifying through `jsonwebtoken` (it parses the header twice and the key each time; here the key is parsed once
//! and the header's members are a closed list), a Redis look-up on each request, and trusting `x-user-*` headers anywhere.

pub mod address;
mod cache;
mod caller;
pub mod cors;
mod decision;
pub mod gate;
pub mod keys;
mod metrics;
mod options;
pub mod policy;
pub mod revocation;
mod role;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod token;

pub use caller::{Caller, Machine, User};
pub use cors::{Cors, CorsOptions};
pub use decision::{Allowed, Decision, Denied};
pub use gate::{Explanation, Gate, HeaderView, Picked};
pub use keys::Keys;
pub use metrics::Metrics;
pub use options::Options;
pub use policy::{Level, Policy, PolicyError, RpcPolicy};
pub use revocation::{Hold, Revocation, RevocationWriter, Revocations};
pub use role::{Role, Roles};
