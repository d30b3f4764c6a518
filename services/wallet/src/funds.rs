//! What an account holds, by when it expires and whether it was paid for; and in which order it is spent.
//!
//! Free value is spent before paid value, and of each what expires first; what never expires is last. What moves keeps its
//! kind and its time, so a refund gives back what was taken.

use std::collections::BTreeMap;

/// Microseconds since the epoch.
pub type Micros = i64;

/// The time of what never expires.
pub const NEVER: Micros = i64::MAX;

/// One kind of value. The order of lots is the order of spending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lot {
    /// Somebody paid for it.
    pub paid: bool,
    /// When it expires; [`NEVER`].
    pub expires_at: Micros,
}

/// Some value of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Kind.
    pub lot: Lot,
    /// How much; above zero.
    pub amount: i64,
}

/// All value of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Funds(BTreeMap<Lot, i64>);

impl Lot {
    /// Free value that never expires.
    pub const FREE: Self = Self { paid: false, expires_at: NEVER };
    /// Paid value that never expires.
    pub const PAID: Self = Self { paid: true, expires_at: NEVER };

    fn over(self, now: Micros) -> bool {
        self.expires_at <= now
    }
}

impl Funds {
    /// How much of one kind.
    #[must_use]
    pub fn of(&self, lot: Lot) -> i64 {
        self.0.get(&lot).copied().unwrap_or_default()
    }

    /// Everything, by kind.
    pub fn lots(&self) -> impl Iterator<Item = Part> {
        self.0.iter().map(|(lot, amount)| Part { lot: *lot, amount: *amount })
    }

    /// The sum; none when it is no number any more.
    #[must_use]
    pub fn total(&self) -> Option<i64> {
        self.0.values().try_fold(0_i64, |sum, amount| sum.checked_add(*amount))
    }

    /// Adds parts; false, and nothing added, when the sum would be more than `most`.
    #[must_use]
    pub fn put(&mut self, parts: &[Part], most: i64) -> bool {
        let more = parts.iter().try_fold(0_i64, |sum, part| sum.checked_add(part.amount));
        let sum = self.total().zip(more).and_then(|(now, more)| now.checked_add(more));
        if sum.is_none_or(|sum| sum > most) {
            return false;
        }
        for part in parts {
            *self.0.entry(part.lot).or_default() += part.amount;
        }
        true
    }

    /// Takes `amount` in the order of spending; none, and nothing taken, when there is less.
    pub fn take(&mut self, amount: i64) -> Option<Vec<Part>> {
        self.take_like(amount, &[])
    }

    /// Takes `amount`, first of the kinds of `wanted`, no more of each than it says, then in the order of spending; none,
    /// and nothing taken, when there is less.
    pub fn take_like(&mut self, amount: i64, wanted: &[Part]) -> Option<Vec<Part>> {
        if self.total()? < amount {
            return None;
        }
        let (mut left, mut taken) = (amount, Vec::new());
        for part in wanted {
            left -= self.draw(part.lot, part.amount.min(left), &mut taken);
        }
        let order: Vec<Lot> = self.0.keys().copied().collect();
        for lot in order {
            left -= self.draw(lot, left, &mut taken);
        }
        Some(taken)
    }

    /// Takes up to `most` of one kind; answers how much it was.
    fn draw(&mut self, lot: Lot, most: i64, taken: &mut Vec<Part>) -> i64 {
        let Some(there) = self.0.get_mut(&lot) else { return 0 };
        let amount = most.min(*there);
        if amount <= 0 {
            return 0;
        }
        *there -= amount;
        if *there == 0 {
            self.0.remove(&lot);
        }
        match taken.iter_mut().find(|part| part.lot == lot) {
            Some(part) => part.amount += amount,
            None => taken.push(Part { lot, amount }),
        }
        amount
    }

    /// Takes what is over at `now`.
    pub fn expire(&mut self, now: Micros) -> Vec<Part> {
        let over: Vec<Part> = self.lots().filter(|part| part.lot.over(now)).collect();
        for part in &over {
            self.0.remove(&part.lot);
        }
        over
    }
}

/// The last `amount` of `parts`, as they are given back: what was spent last, which is the best, comes back first. What is
/// over by `now` gets until `grace`.
#[must_use]
pub fn give_back(parts: &[Part], amount: i64, now: Micros, grace: Micros) -> Vec<Part> {
    let mut left = amount;
    let mut back = Vec::new();
    for part in parts.iter().rev() {
        let amount = part.amount.min(left);
        if amount > 0 {
            let expires_at = if part.lot.over(now) { grace } else { part.lot.expires_at };
            back.push(Part { lot: Lot { expires_at, ..part.lot }, amount });
            left -= amount;
        }
    }
    back.reverse();
    back
}

/// The first `amount` of `parts`.
#[must_use]
pub fn first(parts: &[Part], amount: i64) -> Vec<Part> {
    let mut left = amount;
    let cut = parts.iter().map(|part| {
        let amount = part.amount.min(left);
        left -= amount;
        Part { lot: part.lot, amount }
    });
    cut.filter(|part| part.amount > 0).collect()
}

/// The sum of parts, which came from accounts and so is a number.
#[must_use]
pub fn sum(parts: &[Part]) -> i64 {
    parts.iter().fold(0, |sum, part| sum.saturating_add(part.amount))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lot(paid: bool, expires_at: Micros) -> Lot {
        Lot { paid, expires_at }
    }

    fn funds(parts: &[(Lot, i64)]) -> Funds {
        let mut funds = Funds::default();
        let parts: Vec<Part> = parts.iter().map(|(lot, amount)| Part { lot: *lot, amount: *amount }).collect();
        assert!(funds.put(&parts, i64::MAX));
        funds
    }

    #[test]
    fn free_goes_before_paid_and_what_expires_first_before_the_rest() {
        let mut purse =
            funds(&[(Lot::PAID, 5), (Lot::FREE, 5), (lot(true, 10), 5), (lot(false, 30), 5), (lot(false, 20), 5)]);
        let order: Vec<Lot> = purse.take(25).unwrap().iter().map(|part| part.lot).collect();
        assert_eq!(order, [lot(false, 20), lot(false, 30), Lot::FREE, lot(true, 10), Lot::PAID]);
        assert_eq!(purse, Funds::default());
    }

    #[test]
    fn nothing_is_taken_when_there_is_less() {
        let mut purse = funds(&[(Lot::FREE, 5), (Lot::PAID, 5)]);
        assert_eq!(purse.take(11), None);
        assert_eq!(purse.total(), Some(10));
    }

    #[test]
    fn what_is_taken_back_is_what_was_given_where_it_is_still_there() {
        let mut purse = funds(&[(Lot::FREE, 5), (Lot::PAID, 5)]);
        let taken = purse.take_like(7, &[Part { lot: Lot::PAID, amount: 9 }]).unwrap();
        assert_eq!(taken, [Part { lot: Lot::PAID, amount: 5 }, Part { lot: Lot::FREE, amount: 2 }]);
    }

    #[test]
    fn what_is_over_is_taken_and_nothing_else() {
        let mut purse = funds(&[(lot(false, 10), 1), (lot(true, 11), 2), (Lot::FREE, 4)]);
        assert_eq!(purse.expire(10), [Part { lot: lot(false, 10), amount: 1 }]);
        assert_eq!(purse.total(), Some(6));
    }

    #[test]
    fn paid_comes_back_first_and_what_is_over_gets_time() {
        let parts = [Part { lot: lot(false, 10), amount: 4 }, Part { lot: Lot::PAID, amount: 4 }];
        assert_eq!(give_back(&parts, 3, 20, 99), [Part { lot: Lot::PAID, amount: 3 }]);
        let all = [Part { lot: lot(false, 99), amount: 4 }, Part { lot: Lot::PAID, amount: 4 }];
        assert_eq!(give_back(&parts, 8, 20, 99), all);
        assert_eq!(first(&parts, 5), [parts[0], Part { lot: Lot::PAID, amount: 1 }]);
    }

    #[test]
    fn more_than_may_be_is_not_put() {
        let mut purse = funds(&[(Lot::FREE, 5)]);
        assert!(!purse.put(&[Part { lot: Lot::FREE, amount: 6 }], 10));
        assert!(!purse.put(&[Part { lot: Lot::FREE, amount: i64::MAX }], i64::MAX));
        assert_eq!(purse.total(), Some(5));
    }

    fn any_part() -> impl Strategy<Value = Part> {
        let times = prop_oneof![Just(NEVER), 1_i64..6];
        (any::<bool>(), times, 1_i64..100)
            .prop_map(|(paid, expires_at, amount)| Part { lot: lot(paid, expires_at), amount })
    }

    proptest! {
        #[test]
        fn value_is_neither_made_nor_lost(parts in prop::collection::vec(any_part(), 0..8), takes in prop::collection::vec(1_i64..120, 0..12)) {
            let mut purse = Funds::default();
            prop_assert!(purse.put(&parts, i64::MAX));
            let mut held = sum(&parts);
            for amount in takes {
                match purse.take(amount) {
                    Some(taken) => {
                        prop_assert_eq!(sum(&taken), amount);
                        prop_assert!(taken.windows(2).all(|pair| pair[0].lot < pair[1].lot));
                        held -= amount;
                        if amount % 3 == 0 {
                            prop_assert!(purse.put(&give_back(&taken, amount, 0, NEVER), i64::MAX));
                            held += amount;
                        }
                    }
                    None => prop_assert!(amount > held),
                }
                prop_assert_eq!(purse.total(), Some(held));
                prop_assert!(purse.lots().all(|part| part.amount > 0));
            }
        }
    }
}
