//! Layered settings with every problem reported at once and secrets redacted.

/// One section of the settings.
#[derive(Clone, Debug, Default)]
pub struct Section(pub serde_json::Value);
