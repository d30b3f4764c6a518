//! Whose turn it is: one event of a key at a time, many keys at once. A pure rule.

use std::collections::{HashMap, VecDeque};

use crate::bus::Delivery;

/// What a turn is for.
#[derive(Debug)]
pub(crate) enum Work {
    /// An event as it was delivered.
    Delivered(Box<Delivery>),
    /// The events of a key that are held.
    Held,
}

/// The keys that have work, in the order in which it came.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    keys: HashMap<String, Lane>,
    ready: VecDeque<String>,
    waiting: usize,
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
    /// Work that waits.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Adds work behind what its key has.
    pub(crate) fn push(&mut self, key: String, work: Work) {
        let lane = self.keys.entry(key.clone()).or_default();
        lane.work.push_back(work);
        self.waiting += 1;
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
        self.waiting += 1;
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
        self.waiting -= 1;
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
    use crate::{Topic, bus::Receipt};

    fn delivered(position: usize) -> Work {
        let receipt = Receipt { topic: Topic::named("a", "b"), position: position.to_string() };
        Work::Delivered(Box::new(Delivery { receipt, event: Err(String::new()), buried: None, again: false }))
    }

    proptest! {
        #[test]
        fn keys_keep_their_order_one_at_a_time_and_nothing_is_forgotten(
            keys in prop::collection::vec(0_u8..5, 0..60),
            choices in prop::collection::vec(any::<(bool, usize)>(), 0..200),
            held in prop::collection::vec(0_u8..5, 0..20),
        ) {
            let (mut lanes, mut busy, mut seen) = (Lanes::default(), Vec::<String>::new(), HashMap::<String, Vec<usize>>::new());
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
    fn held_events_go_before_what_waits_and_are_looked_at_once() {
        let mut lanes = Lanes::default();
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
