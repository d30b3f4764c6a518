//! Rules against fraud: how many purchases, and how many payment handles, are too many. Values in, values out.
//!
//! They are data (`shop.fraud_rules`). What they count is read under a lock on whom they count, with whatever else limits a
//! batch, so they cost no trip of their own and nobody slips through by asking many times at once.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use coreloop_core::Problem;
use coreloop_shop_api::v1::{FraudKind, FraudMode, FraudRule, FraudSubject, ShopReason};
use uuid::Uuid;

use crate::{Error, error::Refusal, order::Order};

/// Longest pause that who is refused is told.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What a rule has counted of a subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Purchases within the window; no more than the rule lets through are counted.
    pub count: i64,
    /// Payment handles within the window.
    pub handles: HashSet<String>,
}

/// A rule was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Which.
    pub rule: String,
    /// What becomes of what it meets.
    pub mode: FraudMode,
    /// It was refused.
    pub refused: bool,
    /// Who asked.
    pub user: Uuid,
    /// For what.
    pub product_id: String,
    /// From which installation.
    pub device_id: String,
    /// What the rule had counted before.
    pub seen: i64,
}

/// The rules that are on, and what they have counted of those who ask in a batch.
#[derive(Debug, Default)]
pub struct Watch {
    /// By id.
    pub rules: Vec<FraudRule>,
    /// By rule and subject.
    pub seen: HashMap<(String, String), Seen>,
    /// Whom nothing is refused.
    pub excused: HashSet<Uuid>,
    /// What was met.
    pub hits: Vec<Hit>,
}

impl Watch {
    /// Holds an order to the rules and notes what it meets; answers the first rule that refuses it.
    pub fn screen(&mut self, order: &Order) -> Option<usize> {
        let mut refuses = None;
        for (place, rule) in self.rules.iter().enumerate() {
            let Some(subject) = subject(rule, order) else { continue };
            let seen = self.seen.entry((rule.rule_id.clone(), subject)).or_default();
            let Some(seen) = too_many(rule, seen, order) else { continue };
            let refused = rule.mode() == FraudMode::Enforce && !self.excused.contains(&order.user.0);
            self.hits.push(Hit {
                rule: rule.rule_id.clone(),
                mode: rule.mode(),
                refused,
                user: order.user.0,
                product_id: order.product.product_id.clone(),
                device_id: order.asked.device_id.clone(),
                seen,
            });
            refuses = refuses.or(refused.then_some(place));
        }
        refuses
    }

    /// Counts an order that is written down, for those behind it.
    pub fn count(&mut self, order: &Order) {
        for rule in &self.rules {
            let Some(subject) = subject(rule, order) else { continue };
            let seen = self.seen.entry((rule.rule_id.clone(), subject)).or_default();
            seen.count += 1;
            if !order.asked.payment_handle.is_empty() {
                seen.handles.insert(order.asked.payment_handle.clone());
            }
        }
    }

    /// What who is refused by a rule is told.
    #[must_use]
    pub fn refusal(&self, rule: usize) -> Error {
        let (code, secs) =
            self.rules.get(rule).map_or((String::new(), 0), |rule| (rule.rule_id.clone(), rule.window_secs));
        let refusal = Refusal { reason: ShopReason::PurchaseBlocked, detail: Some(("code", code)) };
        let pause = Duration::from_secs(u64::try_from(secs).unwrap_or_default());
        Problem::from(refusal).retry_after(pause.min(LONGEST)).into()
    }
}

/// Whom of an order a rule counts; none where it does not look at it.
fn subject(rule: &FraudRule, order: &Order) -> Option<String> {
    if rule.category() != order.product.category() {
        return None;
    }
    let subject = match rule.subject() {
        FraudSubject::User => order.user.to_string(),
        FraudSubject::Device => order.asked.device_id.clone(),
        FraudSubject::Handle => order.asked.payment_handle.clone(),
        FraudSubject::Unspecified => String::new(),
    };
    (!subject.is_empty()).then_some(subject)
}

/// What a rule has counted, where the order is one too many.
fn too_many(rule: &FraudRule, seen: &Seen, order: &Order) -> Option<i64> {
    let most = i64::from(rule.most);
    let counted = match rule.kind() {
        FraudKind::Methods => {
            let handle = &order.asked.payment_handle;
            // A handle that was used before is no further one.
            if handle.is_empty() || seen.handles.contains(handle) {
                return None;
            }
            i64::try_from(seen.handles.len()).unwrap_or(i64::MAX)
        }
        FraudKind::Velocity | FraudKind::Unspecified => seen.count,
    };
    (counted >= most).then_some(counted)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use coreloop_core::UserId;
    use coreloop_shop_api::v1::{Category, Product};

    use super::*;
    use crate::order::{Asked, Way};

    fn rule(kind: FraudKind, subject: FraudSubject, most: i32, mode: FraudMode) -> FraudRule {
        FraudRule {
            rule_id: format!("{kind:?}_{subject:?}"),
            category: Category::Conversion.into(),
            kind: kind.into(),
            subject: subject.into(),
            window_secs: 60,
            most,
            mode: mode.into(),
        }
    }

    fn order(user: u128, device: &str, handle: &str) -> Order {
        let product = Product { category: Category::Conversion.into(), ..Product::default() };
        let asked = Asked { device_id: device.into(), payment_handle: handle.into(), ..Asked::default() };
        Order::new(UserId(Uuid::from_u128(user)), Arc::new(product), asked, Way::Plain)
    }

    /// Whether each of `orders` is let through.
    fn through(watch: &mut Watch, orders: &[Order]) -> Vec<bool> {
        let each = |order: &Order| {
            let refused = watch.screen(order).is_some();
            if !refused {
                watch.count(order);
            }
            !refused
        };
        orders.iter().map(each).collect()
    }

    #[test]
    fn a_batch_is_counted_as_it_goes() {
        let rules = vec![rule(FraudKind::Velocity, FraudSubject::User, 2, FraudMode::Enforce)];
        let mut watch = Watch { rules, ..Watch::default() };
        let orders = [order(1, "", "a"), order(2, "", "a"), order(1, "", "b"), order(1, "", "c"), order(2, "", "a")];
        assert_eq!(through(&mut watch, &orders), [true, true, true, false, true]);
        assert_eq!((watch.hits.len(), watch.hits[0].seen, watch.hits[0].refused), (1, 2, true));
    }

    #[test]
    fn a_handle_that_was_used_is_no_further_one_and_no_device_is_no_subject() {
        let rules = vec![
            rule(FraudKind::Methods, FraudSubject::User, 2, FraudMode::Enforce),
            rule(FraudKind::Velocity, FraudSubject::Device, 1, FraudMode::Enforce),
        ];
        let mut watch = Watch { rules, ..Watch::default() };
        let orders = [order(1, "", "a"), order(1, "", "b"), order(1, "", "a"), order(1, "", "c"), order(2, "", "")];
        assert_eq!(through(&mut watch, &orders), [true, true, true, false, true]);
        assert_eq!(through(&mut watch, &[order(3, "phone", "a"), order(4, "phone", "a")]), [true, false]);
    }

    #[test]
    fn the_shadow_and_an_excuse_refuse_nothing_and_note_all() {
        let rules = vec![rule(FraudKind::Velocity, FraudSubject::User, 1, FraudMode::Shadow)];
        let mut watch = Watch { rules, ..Watch::default() };
        assert_eq!(through(&mut watch, &[order(1, "", "a"), order(1, "", "a")]), [true, true]);
        assert_eq!((watch.hits.len(), watch.hits[0].refused), (1, false));
        let rules = vec![rule(FraudKind::Velocity, FraudSubject::User, 1, FraudMode::Enforce)];
        let mut watch = Watch { rules, excused: HashSet::from([Uuid::from_u128(1)]), ..Watch::default() };
        assert_eq!(through(&mut watch, &[order(1, "", "a"), order(1, "", "a")]), [true, true]);
        assert_eq!((watch.hits.len(), watch.hits[0].refused), (1, false));
    }

    #[test]
    fn items_are_not_held_to_rules_of_conversions() {
        let rules = vec![rule(FraudKind::Velocity, FraudSubject::User, 1, FraudMode::Enforce)];
        let mut watch = Watch { rules, ..Watch::default() };
        let item = Product { category: Category::Item.into(), ..Product::default() };
        let item = Order { product: Arc::new(item), ..order(1, "", "") };
        assert_eq!(through(&mut watch, &[item.clone(), item]), [true, true]);
    }
}
