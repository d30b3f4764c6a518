//! When a character can be had: what is counted, how much of it, and how far somebody is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, schema::Schema};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionType {
    /// Eligible scans.
    ScanCount,
    /// Eligible scans of some categories.
    CategoryCount,
    /// Different categories.
    Variety,
    /// The longest row of days with an eligible scan.
    StreakDays,
    /// Nothing: a campaign gives it.
    Campaign,
}

/// What else a condition needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Of which categories scans count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
}

/// A condition that its JSON Schema has accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlock {
    /// What is counted.
    pub condition_type: ConditionType,
    /// How much of it.
    pub threshold: i64,
    /// What else it needs.
    pub metadata: Metadata,
}

/// What has been counted of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Eligible scans by category.
    pub by_category: BTreeMap<String, i64>,
    /// The longest row of days with one.
    pub longest_streak: i32,
}

impl Unlock {
    /// Reads a condition, as the catalogue has it or an administrator sends it.
    ///
    /// # Errors
    /// Everything by which it breaks the schema, under `unlock`.
    pub fn read(schema: &Schema, value: &Value) -> Result<Self, Error> {
        let found = schema.check("unlock", value);
        if !found.is_empty() {
            return Err(Error::Invalid(found));
        }
        // A schema that lets by what is no condition is a fault of ours.
        serde_json::from_value(value.clone()).map_err(|_| Error::Corrupt("a condition that its schema misread"))
    }

    /// What somebody has of what it counts.
    #[must_use]
    pub fn value(&self, counters: &Counters) -> i64 {
        match self.condition_type {
            ConditionType::ScanCount => counters.by_category.values().sum(),
            ConditionType::CategoryCount => {
                self.metadata.categories.iter().filter_map(|category| counters.by_category.get(category)).sum()
            }
            ConditionType::Variety => i64::try_from(counters.by_category.len()).unwrap_or(i64::MAX),
            ConditionType::StreakDays => counters.longest_streak.into(),
            ConditionType::Campaign => 0,
        }
    }

    /// Whether it is met.
    #[must_use]
    pub fn is_met(&self, counters: &Counters) -> bool {
        self.condition_type != ConditionType::Campaign && self.value(counters) >= self.threshold
    }

    /// How far somebody is, from 0 to 1; 1 only where it is met.
    #[must_use]
    pub fn progress(&self, counters: &Counters) -> f64 {
        if self.is_met(counters) {
            return 1.0;
        }
        let share = self.value(counters) as f64 / self.threshold.max(1) as f64;
        share.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn counters() -> Counters {
        let by_category = [("glass", 3), ("pet", 4)].map(|(name, value)| (name.to_owned(), value)).into();
        Counters { by_category, longest_streak: 5 }
    }

    fn unlock(value: Value) -> Unlock {
        Unlock::read(&Schema::unlock().unwrap(), &value).unwrap()
    }

    #[test]
    fn each_kind_counts_what_it_says() {
        let of = |kind: &str, threshold: i64, metadata: Value| {
            let unlock = unlock(json!({"condition_type": kind, "threshold": threshold, "metadata": metadata}));
            (unlock.value(&counters()), unlock.progress(&counters()), unlock.is_met(&counters()))
        };
        assert_eq!(of("scan_count", 14, json!({})), (7, 0.5, false));
        assert_eq!(of("category_count", 6, json!({"categories": ["glass", "food"]})), (3, 0.5, false));
        assert_eq!(of("variety", 2, json!({})), (2, 1.0, true));
        assert_eq!(of("streak_days", 5, json!({})), (5, 1.0, true));
        assert_eq!(of("streak_days", 10, json!({})), (5, 0.5, false));
        assert_eq!(of("campaign", 0, json!({})), (0, 0.0, false));
    }

    #[test]
    fn what_the_schema_refuses_is_no_condition_and_all_of_it_is_told() {
        let schema = Schema::unlock().unwrap();
        let wrong = |value: Value| match Unlock::read(&schema, &value) {
            Err(Error::Invalid(found)) => found.into_iter().map(|violation| violation.field).collect::<Vec<_>>(),
            other => panic!("{value}: {other:?}"),
        };
        let of = |kind: &str, threshold: Value, metadata: Value| {
            json!({
                "condition_type": kind,
                "threshold": threshold,
                "metadata": metadata,
            })
        };
        assert_eq!(wrong(json!(7)), ["unlock"]);
        assert_eq!(wrong(json!({"condition_type": "variety"})), ["unlock.threshold", "unlock.metadata"]);
        assert_eq!(wrong(of("moon_phase", json!(1), json!({}))), ["unlock.condition_type"]);
        assert_eq!(wrong(of("scan_count", json!(0), json!({}))), ["unlock.threshold"]);
        assert_eq!(wrong(of("scan_count", json!(1.5), json!({}))), ["unlock.threshold"]);
        assert_eq!(wrong(of("variety", json!(14), json!({}))), ["unlock.threshold"]);
        assert_eq!(wrong(of("campaign", json!(1), json!({}))), ["unlock.threshold"]);
        assert_eq!(wrong(of("category_count", json!(1), json!({}))), ["unlock.metadata.categories"]);
        assert_eq!(
            wrong(of("category_count", json!(1), json!({"categories": ["glass", "glass", "moon"]}))),
            ["unlock.metadata.categories", "unlock.metadata.categories[2]"]
        );
        assert_eq!(wrong(of("scan_count", json!(1), json!({"categories": ["glass"]}))), ["unlock.metadata"]);
        assert_eq!(wrong(of("scan_count", json!(1), json!({"note": 1}))), ["unlock.metadata.note", "unlock.metadata"]);
    }
}
