//! Settings of the section `limit`.

/// How often clients may call.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Options {
    /// Limits are enforced.
    pub enabled: bool,
    /// Calls a minute of one anonymous address over the whole API.
    pub anonymous_per_minute: u32,
    /// Multiplies every limit; for load tests.
    pub scale: f64,
    /// Milliseconds Redis is given before local limits decide.
    pub redis_timeout_ms: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { enabled: true, anonymous_per_minute: 100, scale: 1.0, redis_timeout_ms: 50 }
    }
}
