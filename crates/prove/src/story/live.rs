//! Everybody's socket: opened again, behind the last that was heard, whenever it ends, and what it says.
//!
//! From where a socket begins with the state, which it does when Redis has lost what was between, up to where it does so again
//! everything is heard, once and in order: that is an epoch, and the last of each person is looked at.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use coreloop_core::{Clock as _, SystemClock};
use coreloop_testkit::{Socket, SocketHeard, socket::SYNC_PATH};
use jiff::Timestamp;
use serde_json::Value;
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

use super::album::Person;
use crate::ask::DEADLINE;

/// A socket that says nothing looks so often whether it is to end.
const TICK: Duration = Duration::from_millis(300);
/// Before one that was refused is asked for again.
const SOON: Duration = Duration::from_millis(100);
/// In the end a socket hears all that was said within so long: whoever was frozen is given up only then.
const CATCH_UP: Duration = Duration::from_secs(40);
/// Messages after which a client hangs up and comes back, as phones do: sockets go on also where no blow falls on them.
const STAYS: u32 = 8;

/// What somebody has heard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    /// Who.
    pub(crate) user: Uuid,
    /// Where the epoch began, and when; none before the first.
    pub(crate) began: Option<(i64, Timestamp)>,
    /// Messages of the epoch, in the order in which they came.
    pub(crate) messages: Vec<Value>,
    /// The last place.
    pub(crate) last: i64,
    /// Messages that came behind a later one.
    pub(crate) disorder: Vec<String>,
    /// Times that a socket went on, and that it began anew.
    pub(crate) resumed: u32,
    pub(crate) anew: u32,
    /// Places of the epoch as the log has them in the end; none where it has not all of it.
    pub(crate) log: Option<Vec<i64>>,
}

impl Heard {
    /// Notes a message.
    pub(crate) fn note(&mut self, message: Value, now: Timestamp) {
        let place = message["seq"].as_i64().unwrap_or_default();
        match message["type"].as_str().unwrap_or_default() {
            "sync_connected" => self.resumed += u32::from(message["data"]["resumed"] == true),
            "initial_state" => {
                (self.began, self.last) = (Some((place, now)), place);
                self.messages.clear();
                self.anew += 1;
            }
            _ => {
                if place <= self.last {
                    self.disorder.push(format!("at {} after {}: {message}", place, self.last));
                }
                self.last = place;
                self.messages.push(message);
            }
        }
    }
}

/// Those who listen.
#[derive(Debug)]
pub(crate) struct Ears {
    ears: Vec<Ear>,
    listening: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
struct Ear {
    person: Person,
    heard: Arc<Mutex<Heard>>,
}

impl Ears {
    /// Opens everybody's socket.
    pub(crate) fn open(people: &[Person]) -> Self {
        let (mut listening, stop) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        let mut ears = Vec::new();
        for (number, person) in people.iter().enumerate() {
            let heard = Arc::new(Mutex::new(Heard { user: person.id, ..Heard::default() }));
            let ear = Ear { person: person.clone(), heard };
            let (listener, stop) = (ear.clone(), Arc::clone(&stop));
            listening.spawn(async move { listener.listen(number, &stop).await });
            ears.push(ear);
        }
        Self { ears, listening, stop }
    }

    /// Waits until nobody has heard anything for so long.
    pub(crate) async fn settle(&self, still: Duration) {
        let places = || self.ears.iter().map(|ear| ear.heard().last).collect::<Vec<_>>();
        let (mut last, mut since) = (places(), Instant::now());
        while since.elapsed() < still {
            sleep(SOON).await;
            let now = places();
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
    }

    /// Waits until everybody has heard all that the log has; what they have, from which they go on.
    pub(crate) async fn caught_up(&self) -> Vec<Heard> {
        let end = Instant::now() + CATCH_UP;
        for ear in &self.ears {
            ear.catch_up(end).await;
        }
        // Each end and each begin of a socket is counted when all is over.
        self.ears.iter().map(|ear| Heard { resumed: 0, anew: 0, ..ear.heard().clone() }).collect()
    }

    /// Waits until everybody has heard all that the log has, and ends.
    pub(crate) async fn end(mut self) -> Vec<Heard> {
        let _before_the_last = self.caught_up().await;
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.listening.join_next().await {
            ended.expect("a listener does not panic");
        }
        self.ears.iter().map(|ear| ear.heard().clone()).collect()
    }
}

impl Ear {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn listen(&self, mut front: usize, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            let base = &self.person.fronts[front % self.person.fronts.len()];
            front += 1;
            let path = match self.heard().last {
                0 => SYNC_PATH.to_owned(),
                last => format!("{SYNC_PATH}?since={last}"),
            };
            let bearer = format!("Bearer {}", self.person.token());
            match Socket::try_ask(base, &path, &[("authorization", &bearer)], DEADLINE).await {
                Ok(socket) => self.read(socket, stop).await,
                Err(_refused) => sleep(SOON).await,
            }
        }
    }

    /// Until it ends, or the client goes away for a moment.
    async fn read(&self, mut socket: Socket, stop: &AtomicBool) {
        let mut left = STAYS;
        while left > 0 && !stop.load(Ordering::SeqCst) {
            match socket.try_next(TICK).await {
                Some(SocketHeard::Message(message)) => {
                    self.heard().note(message, SystemClock.now());
                    left -= 1;
                }
                Some(SocketHeard::Closed { .. } | SocketHeard::Broken(_)) => return,
                None => {}
            }
        }
    }

    /// Waits until what was heard is what the log has behind the begin of the epoch, or the time is up.
    async fn catch_up(&self, end: Instant) {
        let mut front = 0;
        loop {
            front += 1;
            let began = self.heard().began;
            let Some((since, _)) = began else {
                if Instant::now() > end {
                    return;
                }
                sleep(SOON).await;
                continue;
            };
            let call = self.person.at(front).get(&format!("/api/realtime/replay?since={since}")).within(DEADLINE);
            let told = match call.try_send().await {
                Ok(answer) if answer.status == 200 => answer.json(),
                _ => Value::Null,
            };
            let place = |message: &Value| message["seq"].as_i64().unwrap_or_default();
            {
                let mut heard = self.heard();
                let same = heard.began == began;
                if same && told["complete"] == true {
                    let messages = told["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
                    heard.log = Some(messages.iter().map(place).collect());
                } else {
                    heard.log = None;
                }
                if (same && told.is_object() && heard.last >= place(&told)) || Instant::now() > end {
                    return;
                }
            }
            sleep(SOON).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_epoch_begins_with_the_state_and_places_only_grow() {
        let mut heard = Heard::default();
        for (kind, seq) in [("sync_connected", 0), ("initial_state", 0), ("notification", 7), ("scan_update", 9)] {
            heard.note(json!({"type": kind, "seq": seq, "data": {"resumed": false}}), Timestamp::UNIX_EPOCH);
        }
        assert_eq!((heard.messages.len(), heard.last, heard.resumed, heard.anew), (2, 9, 0, 1));
        heard.note(json!({"type": "sync_connected", "seq": 9, "data": {"resumed": true}}), Timestamp::UNIX_EPOCH);
        heard.note(json!({"type": "scan_update", "seq": 9}), Timestamp::UNIX_EPOCH);
        assert_eq!((heard.resumed, heard.disorder.len()), (1, 1));
        heard.note(json!({"type": "initial_state", "seq": 20}), Timestamp::UNIX_EPOCH);
        assert_eq!((heard.messages.len(), heard.last, heard.anew), (0, 20, 2));
    }
}
