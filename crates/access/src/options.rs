//! Settings of the section `access`.

/// How tokens are believed and what happens when revocations cannot be read.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Options {
    /// The `iss` every token must carry.
    pub issuer: String,
    /// The `aud` of access and refresh tokens.
    pub audience: String,
    /// The `aud` of administrators' tokens.
    pub admin_audience: String,
    /// Clock difference forgiven, in seconds.
    pub leeway_secs: u32,
    /// Longest token looked at, in bytes.
    pub max_token_bytes: usize,
    /// Most verified tokens remembered.
    pub cache_entries: usize,
    /// Seconds between two looks at the published keys.
    pub keys_refresh_secs: u32,
    /// Milliseconds after the last good read of the revocation stream at which it counts as late.
    pub stale_ms: u32,
    /// Milliseconds Redis is given to answer for one token while the stream is late.
    pub ask_timeout_ms: u32,
    /// Seconds without stream and Redis after which `fresh` RPCs are refused.
    pub blind_after_secs: u32,
    /// Seconds without stream and Redis after which every RPC that needs a token is refused.
    pub blind_limit_secs: u32,
    /// Networks (CIDR) of the proxies whose `x-forwarded-for` is believed.
    pub trusted_proxies: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            issuer: "https://auth.coreloop.local".to_owned(),
            audience: "coreloop".to_owned(),
            admin_audience: "coreloop-admin".to_owned(),
            leeway_secs: 30,
            max_token_bytes: 4096,
            cache_entries: 1_000_000,
            keys_refresh_secs: 30,
            stale_ms: 1_000,
            ask_timeout_ms: 50,
            blind_after_secs: 10,
            blind_limit_secs: 300,
            trusted_proxies: vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()],
        }
    }
}
