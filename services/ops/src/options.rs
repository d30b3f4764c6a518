//! Settings of the section `ops`: none yet.

use coreloop_config::{Errors, Section};
use serde::Deserialize;

/// Settings of the service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Options {}

impl Options {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Every problem, with file and line or the variable's name.
    pub fn read(section: &Section) -> Result<Self, Errors> {
        section.read()
    }
}
