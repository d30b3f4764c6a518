//! Settings of the section `wallet`: defaulted, documented, checked before the process starts.

use coreloop_config::{Errors, Section};
use serde::Deserialize;

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Batches of postings that are committed at the same time.
    pub lanes: usize,
    /// Most postings of a batch.
    pub batch: usize,
    /// Postings that may wait for a batch; more are refused.
    pub queue: usize,
    /// Life of a hold whose maker states none, in seconds.
    pub hold_secs: u32,
    /// Time that value is given which comes back when its own is over, in seconds.
    pub grace_secs: u32,
    /// Time between two looks for holds and value whose time is over, in seconds.
    pub sweep_secs: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { lanes: 4, batch: 256, queue: 4_096, hold_secs: 900, grace_secs: 7 * 86_400, sweep_secs: 5 }
    }
}

impl Options {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Every problem, with file and line or the variable's name.
    pub fn read(section: &Section) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| {
            // One of the house's sixteen rows is for batches of callers' own.
            report.within("lanes", options.lanes, 1, 15);
            report.within("batch", options.batch, 1, 4_096);
            report.within("queue", options.queue, 1, 1_000_000);
            report.within("hold_secs", options.hold_secs, 1, 30 * 86_400);
            report.within("grace_secs", options.grace_secs, 60, 365 * 86_400);
            report.within("sweep_secs", options.sweep_secs, 1, 3_600);
        })
    }
}
