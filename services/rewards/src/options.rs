//! Settings of the section `rewards`: defaulted, documented, checked before the process starts.

use coreloop_config::{Errors, Section};
use serde::Deserialize;

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// What is pending for so long is taken up by the recovery, in seconds.
    pub recover_after_secs: u32,
    /// Time between two looks of the recovery, in milliseconds.
    pub recover_every_ms: u64,
    /// Time between two looks for gaps in the audit, in seconds; 0: none.
    pub audit_secs: u32,
    /// What is pending for so long is a gap, in seconds.
    pub gap_after_secs: u32,
    /// Events on their way out, and commands to vendors.
    pub eventing: coreloop_eventing::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            recover_after_secs: 5,
            recover_every_ms: 1_000,
            audit_secs: 600,
            gap_after_secs: 3_600,
            eventing: coreloop_eventing::Options::default(),
        }
    }
}

impl Options {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Every problem, with file and line or the variable's name.
    pub fn read(section: &Section) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| {
            report.within("recover_after_secs", options.recover_after_secs, 1, 3_600);
            report.within("recover_every_ms", options.recover_every_ms, 10, 60_000);
            report.within("audit_secs", options.audit_secs, 0, 30 * 86_400);
            report.within("gap_after_secs", options.gap_after_secs, 60, 30 * 86_400);
            options.eventing.check(report);
        })
    }
}
