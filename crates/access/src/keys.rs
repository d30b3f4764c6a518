//! Public keys by `kid`.
//!
//! The set is read whole from a [`KeySource`] and swapped in one step. An unknown `kid` causes a look at the source, at
//! most one in ten seconds however many callers ask (chapter 09, A12). Each key material has a serial number that no other
//! ever gets in this process; a remembered token is good only while the serial of its key is in the set.

mod der;
mod jwk;
mod set;

pub use jwk::{Jwk, JwkSet};
pub use set::{Key, Keys};

/// Where the published keys are read from: the auth service's own store, or its `/.well-known/jwks.json`.
#[async_trait::async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// Reads the current set; bounded in time by the source.
    async fn jwks(&self) -> Result<JwkSet, KeySourceError>;
}

/// The keys could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the published keys could not be read: {0}")]
pub struct KeySourceError(#[from] pub Box<dyn std::error::Error + Send + Sync>);
