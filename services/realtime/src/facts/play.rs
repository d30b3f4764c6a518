//! What facts mean to the user whom they concern.

use coreloop_facts::v1;
use coreloop_realtime_api::v1 as told;
use coreloop_wallet_api::v1::Currency;
use prost_types::{Struct, Value, value::Kind as Of};

use super::{Meaning, Tells, typed};
use crate::message::Kind;

impl Tells for v1::WalletPosted {
    fn means(self) -> Meaning {
        let field = match self.currency() {
            Currency::Gold => "gold",
            Currency::Point => "point",
            Currency::Unspecified => return Meaning::To(self.user_id, Vec::new()),
        };
        let update = told::ProfileUpdate { changes: Some(numbers([(field, self.balance_after)])) };
        Meaning::To(self.user_id, vec![typed(Kind::ProfileUpdate, &update)])
    }
}

impl Tells for v1::RewardsGranted {
    fn means(self) -> Meaning {
        let granted = told::RewardGranted {
            reward_type: bare(self.kind().as_str_name(), "REWARD_KIND_"),
            amount: self.amount,
            // A posting of the same moment tells of the balance.
            balance_after: None,
            item: self.item,
        };
        Meaning::To(self.user_id, vec![typed(Kind::RewardGranted, &granted)])
    }
}

impl Tells for v1::CharacterAcquired {
    fn means(self) -> Meaning {
        let granted = told::RewardGranted {
            reward_type: "CHARACTER".to_owned(),
            amount: 1,
            balance_after: Some(self.owned_count.into()),
            item: self.code,
        };
        Meaning::To(self.user_id, vec![typed(Kind::RewardGranted, &granted)])
    }
}

/// Purchases and settlements say themselves how far they are.
macro_rules! purchases {
    ($($fact:ident)*) => {
        $(
            impl Tells for v1::$fact {
                fn means(self) -> Meaning {
                    let update = self.purchase_update.iter().map(|update| typed(Kind::PurchaseUpdate, update));
                    Meaning::To(self.user_id, update.collect())
                }
            }
        )*
    };
}

purchases! {
    ShopPurchaseCompleted
    ShopPurchaseFailed
    ShopPurchaseRequested
    ShopSettlementConfirmed
    ShopSettlementVoided
}

impl Tells for v1::ScanCompleted {
    fn means(self) -> Meaning {
        let update = told::ScanUpdate {
            category: bare(self.category().as_str_name(), "CATEGORY_"),
            task_id: self.task_id,
            image_id: self.image_id,
            status: "COMPLETED".to_owned(),
            sub_category: self.sub_category,
            confidence: self.confidence,
            reward_eligible: self.reward_eligible,
            reason: String::new(),
        };
        Meaning::To(self.user_id, vec![typed(Kind::ScanUpdate, &update)])
    }
}

impl Tells for v1::ScanFailed {
    fn means(self) -> Meaning {
        let update = told::ScanUpdate {
            task_id: self.task_id,
            image_id: self.image_id,
            status: "FAILED".to_owned(),
            reason: self.reason,
            ..told::ScanUpdate::default()
        };
        Meaning::To(self.user_id, vec![typed(Kind::ScanUpdate, &update)])
    }
}

impl Tells for v1::MyStreakMoved {
    fn means(self) -> Meaning {
        let update = told::StreakUpdate { action_type: "RECYCLE".to_owned(), streak_count: self.current };
        Meaning::To(self.user_id, vec![typed(Kind::StreakUpdate, &update)])
    }
}

impl Tells for v1::MyBadgeEarned {
    fn means(self) -> Meaning {
        let earned = told::AchievementProgress { achievement_code: self.code, progress: 1.0, unlocked: true };
        Meaning::To(self.user_id, vec![typed(Kind::AchievementProgress, &earned)])
    }
}

impl Tells for v1::MyFootprintMoved {
    fn means(self) -> Meaning {
        let moved = [
            ("recycled", self.recycled),
            ("tree_milli", self.tree_milli),
            ("water_ml", self.water_ml),
            ("co2_g", self.co2_g),
        ];
        let update = told::StatsDelta { deltas: Some(numbers(moved)) };
        Meaning::To(self.user_id, vec![typed(Kind::StatsDelta, &update)])
    }
}

impl Tells for v1::MyProfileUpdated {
    fn means(self) -> Meaning {
        // Names of fields only: a profile is read again, and no name of a person travels here.
        let changed = self.changed.iter().map(|field| (field.clone(), Value { kind: Some(Of::NullValue(0)) }));
        let update = told::ProfileUpdate { changes: Some(Struct { fields: changed.collect() }) };
        Meaning::To(self.user_id, vec![typed(Kind::ProfileUpdate, &update)])
    }
}

impl Tells for v1::NotificationCreated {
    fn means(self) -> Meaning {
        let notification = told::Notification {
            kind: bare(self.kind().as_str_name(), "NOTIFICATION_KIND_"),
            notification_id: self.notification_id,
            title: self.title,
            body: self.body,
            data: self.data,
        };
        Meaning::To(self.user_id, vec![typed(Kind::Notification, &notification)])
    }
}

/// The name of a value without the name of its enum.
fn bare(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

/// Whole numbers by name, within 2^53.
fn numbers<const N: usize>(fields: [(&str, i64); N]) -> Struct {
    let value = |number: i64| Value { kind: Some(Of::NumberValue(number as f64)) };
    Struct { fields: fields.map(|(name, number)| (name.to_owned(), value(number))).into_iter().collect() }
}
