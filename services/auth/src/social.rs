//! Social sign-in: OAuth 2.0 authorization code flow with PKCE S256 (RFC 6749, RFC 7636, RFC 9700), OpenID Connect
//! where the provider speaks it.
//!
//! A sign-in is two calls with a provider between them. What the first one knows (verifier, nonce, redirect URI, device)
//! is kept at `oauth:state:{state}` and taken back by one atomic GETDEL ([`state`]), so a state is good once whatever
//! comes of it. The verifier never leaves this process and Redis. A state says which provider it was made for, and whose
//! account it links: another provider's answer (mix-up, RFC 9700 4.4) or another user's link is refused.
//!
//! Providers are settings ([`options`]); `oidc` ones are discovered and verified by the openidconnect crate against
//! their JWKS, Kakao and Naver go through oauth2 with their profile formats in [`profile`]. Every call to a provider has
//! a time-out, a bounded body, no redirects, and one retry with jitter when the provider itself failed ([`outbound`]).
//!
//! **An address never merges accounts** ([`account`]): it is compared only to refuse.

pub mod account;
pub mod flow;
pub mod oauth;
pub mod oidc;
pub mod options;
pub mod outbound;
pub mod profile;
pub mod provider;
pub mod state;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests;

pub use options::Options;
pub use provider::Registry;
