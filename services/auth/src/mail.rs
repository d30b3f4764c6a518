//! Mail to account holders.

/// Settings of mail.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
pub struct Options {}
