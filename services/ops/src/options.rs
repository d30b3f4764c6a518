//! Settings of the section `ops`.

use coreloop_config::{Errors, Section};
use serde::Deserialize;

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Time between two looks for runs that were asked for elsewhere, in seconds.
    pub runs_secs: u32,
    /// Time between two rounds: what is due, what the queues have set aside, in seconds.
    pub round_secs: u32,
    /// Time between two runs of each check, in seconds; 0: only when somebody asks.
    pub integrity_secs: u32,
    /// Age of a dead letter from which it is told in the log, in seconds.
    pub dead_letter_secs: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { runs_secs: 5, round_secs: 60, integrity_secs: 86_400, dead_letter_secs: 3_600 }
    }
}

impl Options {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Every problem, with file and line or the variable's name.
    pub fn read(section: &Section) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| {
            report.within("runs_secs", options.runs_secs, 1, 3_600);
            report.within("round_secs", options.round_secs, 1, 3_600);
            report.within("integrity_secs", options.integrity_secs, 0, 30 * 86_400);
            report.within("dead_letter_secs", options.dead_letter_secs, 1, 30 * 86_400);
        })
    }
}
