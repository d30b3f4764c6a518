//! Whose turn it is: one event of a key at a time, many keys at once. A pure rule.

use std::collections::{HashMap, VecDeque};

use super::room::Taken;

/// What a turn is for.
#[derive(Debug)]
pub(crate) enum Work {
    /// An event as it was delivered.
    Delivered(Box<Taken>),
    /// The events of a key that are held.
    Held,
}

/// The keys that have work, in the order in which it came.
#[derive(Debug)]
pub(crate) struct Lanes {
    keys: HashMap<String, Lane>,
    ready: VecDeque<String>,
    waiting: usize,
    /// What of one key counts as waiting.
    most: usize,
}

#[derive(Debug, Default)]
struct Lane {
    work: VecDeque<Work>,
    /// A turn runs.
    busy: bool,
    /// Held events are to be looked at.
    held: bool,
}

impl Lanes {
    /// Lanes of which each counts as `most` at most, so that a key with more than that does not shut out the others.
    pub(crate) fn new(most: usize) -> Self {
        Self { keys: HashMap::new(), ready: VecDeque::new(), waiting: 0, most }
    }

    /// Work that waits, as far as it counts.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Adds work behind what its key has.
    pub(crate) fn push(&mut self, key: String, work: Work) {
        let lane = self.keys.entry(key.clone()).or_default();
        lane.work.push_back(work);
        self.waiting += usize::from(lane.work.len() <= self.most);
        if !lane.busy && lane.work.len() == 1 {
            self.ready.push_back(key);
        }
    }

    /// Adds a look at the held events of a key, before what its key has; once, however often it is asked for.
    pub(crate) fn push_held(&mut self, key: String) {
        let lane = self.keys.entry(key.clone()).or_default();
        if lane.held {
            return;
        }
        lane.held = true;
        lane.work.push_front(Work::Held);
        self.waiting += usize::from(lane.work.len() <= self.most);
        if !lane.busy && lane.work.len() == 1 {
            self.ready.push_back(key);
        }
    }

    /// The next turn. The key has no other until [`Lanes::done`].
    pub(crate) fn next(&mut self) -> Option<(String, Work)> {
        let key = self.ready.pop_front()?;
        let lane = self.keys.get_mut(&key)?;
        let work = lane.work.pop_front()?;
        if matches!(work, Work::Held) {
            lane.held = false;
        }
        lane.busy = true;
        self.waiting -= usize::from(lane.work.len() < self.most);
        Some((key, work))
    }

    /// The turn of a key has ended.
    pub(crate) fn done(&mut self, key: &str) {
        let Some(lane) = self.keys.get_mut(key) else { return };
        lane.busy = false;
        if lane.work.is_empty() {
            self.keys.remove(key);
        } else {
            self.ready.push_back(key.to_owned());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Topic,
        bus::{Delivery, Receipt},
    };

    fn delivered(position: usize) -> Work {
        let receipt = Receipt { topic: Topic::named("a", "b"), position: position.to_string() };
        let delivery = Delivery { receipt, event: Err(String::new()), buried: None, again: false };
        Work::Delivered(Box::new(delivery.into()))
    }

    proptest! {
        #[test]
        fn keys_keep_their_order_one_at_a_time_and_nothing_is_forgotten(
            keys in prop::collection::vec(0_u8..5, 0..60),
            choices in prop::collection::vec(any::<(bool, usize)>(), 0..200),
            held in prop::collection::vec(0_u8..5, 0..20),
        ) {
            let (mut lanes, mut busy, mut seen) = (Lanes::new(3), Vec::<String>::new(), HashMap::<String, Vec<usize>>::new());
            let mut come = keys.iter().enumerate();
            let (mut choices, mut held) = (choices.into_iter(), held.into_iter());
            loop {
                if let Some(key) = held.next() {
                    lanes.push_held(key.to_string());
                }
                let (take, which) = choices.next().unwrap_or((true, 0));
                let arrived = if take { None } else { come.next() };
                if let Some((position, key)) = arrived {
                    lanes.push(key.to_string(), delivered(position));
                } else if let Some((key, work)) = lanes.next() {
                    prop_assert!(!busy.contains(&key), "two turns of one key");
                    if let Work::Delivered(delivery) = work {
                        seen.entry(key.clone()).or_default().push(delivery.receipt.position.parse().unwrap());
                    }
                    busy.push(key);
                } else if !busy.is_empty() {
                    let key = busy.remove(which % busy.len());
                    lanes.done(&key);
                } else if let Some((position, key)) = come.next() {
                    lanes.push(key.to_string(), delivered(position));
                } else {
                    break;
                }
            }
            prop_assert_eq!(lanes.waiting(), 0);
            prop_assert!(lanes.keys.is_empty());
            prop_assert_eq!(seen.values().map(Vec::len).sum::<usize>(), keys.len());
            for positions in seen.values() {
                prop_assert!(positions.is_sorted());
            }
        }
    }

    #[test]
    fn one_key_counts_only_so_much() {
        let mut lanes = Lanes::new(2);
        (0..10).for_each(|position| lanes.push("hot".into(), delivered(position)));
        assert_eq!(lanes.waiting(), 2);
        lanes.push("cold".into(), delivered(0));
        assert_eq!(lanes.waiting(), 3);
    }

    #[test]
    fn held_events_go_before_what_waits_and_are_looked_at_once() {
        let mut lanes = Lanes::new(100);
        lanes.push("a".into(), delivered(1));
        lanes.push_held("a".into());
        lanes.push_held("a".into());
        assert!(matches!(lanes.next(), Some((_, Work::Held))));
        // Asked for while its key is busy, it comes next: what waits would only be set aside behind it.
        lanes.push_held("a".into());
        assert!(lanes.next().is_none(), "two turns of one key");
        lanes.done("a");
        assert!(matches!(lanes.next(), Some((_, Work::Held))));
        lanes.done("a");
        assert!(matches!(lanes.next(), Some((_, Work::Delivered(_)))));
        lanes.push_held("a".into());
        lanes.done("a");
        assert!(matches!(lanes.next(), Some((_, Work::Held))));
        lanes.done("a");
        assert!(lanes.next().is_none() && lanes.waiting() == 0);
    }
}
