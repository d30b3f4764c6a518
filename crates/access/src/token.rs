//! Tokens: claims by kind, signing, and verification as RFC 8725 asks.
//!
//! A token is a compact JWS (RFC 7515) with exactly three parts. The key is found by `kid`; the key says the algorithm and
//! what it may sign, never the token. Everything is checked before anything is believed: shape and size, the header's
//! closed list of members, the signature, then presence, type and range of every claim.

mod claims;
mod jws;
mod signer;
mod verify;

pub use claims::{Claims, Subject, TokenKind};
pub use signer::{Algorithm, Purpose, SignError, Signer};
pub use verify::{Invalid, Rules, VerifyError, is_service, verify};
