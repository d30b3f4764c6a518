//! The HTTP client for third parties, made when it is first used.
//!
//! Making one reads the system's certificates, which takes longer than everything else of a start and several megabytes
//! (chapter 10, P18). A process that asks nobody never pays for it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// How long third parties may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For a whole answer.
    pub answer: Duration,
}

/// The client. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Outside {
    patience: Patience,
    made: Arc<OnceLock<reqwest::Client>>,
}

impl Outside {
    /// A client that waits for at most `patience`.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self { patience, made: Arc::default() }
    }

    /// The client itself.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn client(&self) -> Result<&reqwest::Client, reqwest::Error> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let client = reqwest::Client::builder()
            .connect_timeout(self.patience.connect)
            .timeout(self.patience.answer)
            // Whoever redirects is not the party we know (server-side request forgery).
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("coreloop/", env!("CARGO_PKG_VERSION")))
            .build()?;
        // Two first callers may both make one; all keep the first.
        Ok(self.made.get_or_init(|| client))
    }
}
