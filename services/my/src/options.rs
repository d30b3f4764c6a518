//! Settings of the section `my`: defaulted, documented, checked before the process starts.

use std::time::Duration;

use coreloop_config::{Errors, Section};
use serde::Deserialize;

use crate::person::Footprint;

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// What recycling one thing is worth, in thousandths of a tree.
    pub tree_milli: u32,
    /// What recycling one thing is worth, in millilitres of water.
    pub water_ml: u32,
    /// What recycling one thing is worth, in grams of CO2.
    pub co2_g: u32,
    /// A summary is answered again for so long, in seconds; 0: it is always put together.
    pub summary_cache_secs: u32,
    /// Each source of a summary gets this long for one answer, in milliseconds; then what is known of it is told.
    pub part_timeout_ms: u64,
    /// Redis gets this long for one answer, in milliseconds; what it does not say is put together.
    pub redis_timeout_ms: u64,
    /// What happened so long ago is in no timeline any more, in days.
    pub timeline_days: u32,
    /// How many one may follow.
    pub max_follows: u32,
    /// A change of a profile that auth does not know is told again after this long, in seconds.
    pub retell_secs: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tree_milli: 20,
            water_ml: 7_000,
            co2_g: 230,
            summary_cache_secs: 15,
            part_timeout_ms: 300,
            redis_timeout_ms: 100,
            timeline_days: 30,
            max_follows: 5_000,
            retell_secs: 60,
        }
    }
}

impl Options {
    /// What a scan is worth that earns something.
    #[must_use]
    pub fn worth(&self, recycled: bool) -> Footprint {
        let scan = Footprint { scans: 1, ..Footprint::default() };
        if !recycled {
            return scan;
        }
        Footprint {
            recycled: 1,
            tree_milli: self.tree_milli.into(),
            water_ml: self.water_ml.into(),
            co2_g: self.co2_g.into(),
            ..scan
        }
    }

    /// How long a source of a summary may take.
    #[must_use]
    pub fn part_patience(&self) -> Duration {
        Duration::from_millis(self.part_timeout_ms)
    }

    /// Reads and checks the section.
    ///
    /// # Errors
    /// Every problem, with file and line or the variable's name.
    pub fn read(section: &Section) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| {
            report.within("tree_milli", options.tree_milli, 0, 1_000_000);
            report.within("water_ml", options.water_ml, 0, 1_000_000_000);
            report.within("co2_g", options.co2_g, 0, 1_000_000_000);
            report.within("summary_cache_secs", options.summary_cache_secs, 0, 3_600);
            report.within("part_timeout_ms", options.part_timeout_ms, 1, 25_000);
            report.within("redis_timeout_ms", options.redis_timeout_ms, 1, 25_000);
            report.within("timeline_days", options.timeline_days, 1, 3_660);
            report.within("max_follows", options.max_follows, 1, 1_000_000);
            report.within("retell_secs", options.retell_secs, 1, 3_600);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_recycled_is_a_scan_and_no_more() {
        let options = Options::default();
        let recycled = Footprint { scans: 1, recycled: 1, tree_milli: 20, water_ml: 7_000, co2_g: 230 };
        assert_eq!(options.worth(true), recycled);
        assert_eq!(options.worth(false), Footprint { scans: 1, ..Footprint::default() });
    }
}
