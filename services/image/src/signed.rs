//! Signed addresses. Whoever has one may do what it is signed for, so none is shown to a log.

use std::fmt;

/// A signed address.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed(String);

impl Signed {
    /// This address.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self(address.into())
    }

    /// To be used.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// To be handed to whom it was signed for.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signed")
    }
}
