//! Social sign-in: OAuth 2.0 code flow with PKCE.

/// Settings of social sign-in.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
pub struct Options {}
