//! What waits for one socket: bounded, and put together as far as that loses nothing.
//!
//! **A client that stops after any message and resumes behind it must end where one that read everything did.** So not every
//! merge is allowed. What only its latest counts of may leave from anywhere: the later one is behind it, or is resumed. What adds
//! up, or goes over what was before, is put together with the very last only: anywhere else a client could have the sum and
//! then be given its parts again, or never.

use std::{collections::VecDeque, sync::Arc};

use serde_json::{Map, Value};

use crate::message::{Merge, Message, Said};

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Kept,
    /// It waits, and less than before waits beside it.
    Merged,
    /// There is no room: the client reads too slowly.
    Full,
}

/// The messages that wait for one socket.
#[derive(Debug)]
pub struct Queue {
    messages: VecDeque<Message>,
    most: usize,
}

impl Queue {
    /// At most `most` messages.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { messages: VecDeque::new(), most }
    }

    /// Messages that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// None waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Puts a message behind the others. From half of the room on, what can be put together is.
    pub fn push(&mut self, mut message: Message) -> Pushed {
        if self.messages.len() < self.most.div_ceil(2) {
            self.messages.push_back(message);
            return Pushed::Kept;
        }
        let before = self.messages.len();
        match message.said.kind.merge() {
            Merge::Never => self.messages.push_back(message),
            Merge::Latest(field) => {
                self.drop_older(&mut message, field);
                self.messages.push_back(message);
            }
            Merge::Sum(field) => self.push_onto_last(message, field, |old, new| *old = sum(old, new)),
            Merge::Overlay(field) => self.push_onto_last(message, field, |old, new| *old = new.clone()),
        }
        match self.messages.len() {
            now if now > self.most => Pushed::Full,
            now if now <= before => Pushed::Merged,
            _ => Pushed::Kept,
        }
    }

    /// The next.
    pub fn pop(&mut self) -> Option<Message> {
        let next = self.messages.pop_front();
        if self.messages.is_empty() {
            // An idle socket holds no room.
            self.messages = VecDeque::new();
        }
        next
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.messages = VecDeque::new();
    }

    /// Drops what `message` makes old. Who comes behind it takes over its place before, so that no gap is seen.
    fn drop_older(&mut self, message: &mut Message, field: &str) {
        let named = |said: &Said| (!field.is_empty()).then(|| said.data.get(field).cloned());
        let (kind, what) = (message.said.kind, named(&message.said));
        let old = self.messages.iter().position(|old| old.said.kind == kind && named(&old.said) == what);
        let Some(at) = old else { return };
        let Some(dropped) = self.messages.remove(at) else { return };
        self.messages.get_mut(at).unwrap_or(message).prev = dropped.prev;
    }

    fn push_onto_last(&mut self, message: Message, field: &str, join: impl Fn(&mut Value, &Value)) {
        let kind = message.said.kind;
        let joined = self.messages.back().filter(|last| last.said.kind == kind).map(|last| Message {
            seq: message.seq,
            prev: last.prev,
            said: Arc::new(Said {
                kind,
                data: onto(&last.said.data, &message.said.data, field, &join),
                timestamp: message.said.timestamp,
            }),
        });
        match joined {
            Some(joined) => {
                self.messages.pop_back();
                self.messages.push_back(joined);
            }
            None => self.messages.push_back(message),
        }
    }
}

/// The later message with the object `field` of both.
fn onto(
    earlier: &Map<String, Value>,
    later: &Map<String, Value>,
    field: &str,
    join: impl Fn(&mut Value, &Value),
) -> Map<String, Value> {
    let mut both = earlier.get(field).and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, value) in later.get(field).and_then(Value::as_object).into_iter().flatten() {
        match both.get_mut(name) {
            Some(old) => join(old, value),
            None => {
                both.insert(name.clone(), value.clone());
            }
        }
    }
    let mut out = later.clone();
    out.insert(field.to_owned(), Value::Object(both));
    out
}

/// What is no number is replaced.
fn sum(old: &Value, new: &Value) -> Value {
    let whole = || Some(old.as_i64()?.checked_add(new.as_i64()?)?.into());
    let broken = || Some((old.as_f64()? + new.as_f64()?).into());
    whole().or_else(broken).unwrap_or_else(|| new.clone())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::message::Kind;

    fn message(seq: i64, kind: Kind, data: Value) -> Message {
        let Value::Object(data) = data else { panic!("{data}") };
        let said = Said { kind, data, timestamp: Timestamp::UNIX_EPOCH };
        Message { seq, prev: seq - 1, said: Arc::new(said) }
    }

    fn delta(seq: i64, by: i64) -> Message {
        message(seq, Kind::StatsDelta, json!({"deltas": {"recycled": by}}))
    }

    fn scan(seq: i64, task: &str, status: &str) -> Message {
        message(seq, Kind::ScanUpdate, json!({"task_id": task, "status": status}))
    }

    fn notification(seq: i64) -> Message {
        message(seq, Kind::Notification, json!({"notification_id": seq.to_string()}))
    }

    fn all(queue: &mut Queue) -> Vec<(i64, i64)> {
        std::iter::from_fn(|| queue.pop()).map(|message| (message.prev, message.seq)).collect()
    }

    #[test]
    fn while_there_is_room_everything_stays_as_it_is() {
        let mut queue = Queue::new(8);
        for seq in 1..=4 {
            assert_eq!(queue.push(delta(seq, 1)), Pushed::Kept);
        }
        assert_eq!(all(&mut queue), [(0, 1), (1, 2), (2, 3), (3, 4)]);
    }

    #[test]
    fn deltas_that_wait_are_added_up_at_the_end() {
        let mut queue = Queue::new(4);
        queue.push(notification(1));
        queue.push(delta(2, 1));
        assert_eq!(queue.push(delta(3, 2)), Pushed::Merged);
        assert_eq!(queue.push(delta(4, 4)), Pushed::Merged);
        assert_eq!(queue.pop().unwrap().seq, 1);
        let joined = queue.pop().unwrap();
        assert_eq!((joined.prev, joined.seq), (1, 4));
        assert_eq!(joined.said.data["deltas"], json!({"recycled": 7}));
    }

    #[test]
    fn what_is_old_leaves_and_no_gap_is_seen() {
        let mut queue = Queue::new(4);
        queue.push(scan(1, "a", "RUNNING"));
        queue.push(notification(2));
        assert_eq!(queue.push(scan(3, "b", "COMPLETED")), Pushed::Kept);
        assert_eq!(queue.push(scan(4, "a", "COMPLETED")), Pushed::Merged);
        assert_eq!(all(&mut queue), [(0, 2), (2, 3), (3, 4)]);
    }

    #[test]
    fn what_cannot_be_put_together_fills_it() {
        let mut queue = Queue::new(3);
        let pushed: Vec<_> = (1..=4).map(|seq| queue.push(notification(seq))).collect();
        assert_eq!(pushed, [Pushed::Kept, Pushed::Kept, Pushed::Kept, Pushed::Full]);
    }

    /// What a client makes of messages.
    #[derive(Debug, Clone, Default, PartialEq)]
    struct Client {
        last: i64,
        sums: BTreeMap<String, i64>,
        fields: BTreeMap<String, Value>,
        latest: BTreeMap<String, Value>,
        notified: Vec<String>,
    }

    impl Client {
        fn hear(&mut self, message: &Message) {
            assert!(message.prev <= self.last && self.last < message.seq, "{message:?} after {}", self.last);
            self.last = message.seq;
            let data = &message.said.data;
            match message.said.kind {
                Kind::StatsDelta => {
                    for (name, by) in data["deltas"].as_object().unwrap() {
                        *self.sums.entry(name.clone()).or_default() += by.as_i64().unwrap();
                    }
                }
                Kind::ProfileUpdate => {
                    let changes = data["changes"].as_object().unwrap().clone();
                    self.fields.extend(changes);
                }
                Kind::ScanUpdate => {
                    self.latest.insert(data["task_id"].to_string(), data["status"].clone());
                }
                _ => self.notified.push(data["notification_id"].to_string()),
            }
        }
    }

    fn any_data() -> impl Strategy<Value = (Kind, Value)> {
        let name = prop::sample::select(vec!["a", "b", "c"]);
        prop_oneof![
            (name.clone(), -5..5_i64).prop_map(|(name, by)| (Kind::StatsDelta, json!({"deltas": {name: by}}))),
            (name.clone(), 0..9_i64).prop_map(|(name, value)| (Kind::ProfileUpdate, json!({"changes": {name: value}}))),
            (name, 0..9_i64).prop_map(|(name, status)| (Kind::ScanUpdate, json!({"task_id": name, "status": status}))),
            (0..1000_i64).prop_map(|id| (Kind::Notification, json!({"notification_id": id}))),
        ]
    }

    proptest! {
        /// A client that reads slowly, stops anywhere and resumes from the log ends where one that read everything did.
        #[test]
        fn merging_loses_and_doubles_nothing_wherever_a_client_stops(
            data in prop::collection::vec(any_data(), 0..60),
            reads in prop::collection::vec(any::<bool>(), 60),
            most in 2..12_usize,
            stops in 0..60_usize,
        ) {
            let log: Vec<Message> = (1..).zip(data).map(|(seq, (kind, data))| message(seq, kind, data)).collect();
            let mut whole = Client::default();
            log.iter().for_each(|message| whole.hear(message));
            let (mut client, mut queue) = (Client::default(), Queue::new(most));
            for (message, reads) in log.iter().zip(reads).take(stops) {
                if queue.push(message.clone()) == Pushed::Full {
                    break;
                }
                prop_assert!(queue.len() <= most);
                if reads && let Some(next) = queue.pop() {
                    client.hear(&next);
                }
            }
            // Half of what still waits arrives before the connection is gone.
            for _ in 0..queue.len() / 2 {
                client.hear(&queue.pop().unwrap());
            }
            log.iter().filter(|message| message.seq > client.last).cloned().collect::<Vec<_>>().iter()
                .for_each(|message| client.hear(message));
            prop_assert_eq!(client, whole);
        }
    }
}
