//! How much a consumer holds in memory: so many bytes, whatever the number of events.

use std::{ops::Deref, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::bus::Delivery;

/// Most bytes of events that wait or are handled, beyond what one reading brings.
const MOST_BYTES: u32 = 64 << 20;
/// What an event takes besides its payload, or a little less.
const ENVELOPE: usize = 1_024;

/// Room for events.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// A delivery and its room, which is free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    delivery: Delivery,
    _room: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST_BYTES as usize)))
    }

    /// Waits until there is room for a delivery; one that is larger than all of it has all of it.
    pub(super) async fn take(&self, delivery: Delivery) -> Taken {
        let payload = match &delivery.event {
            Ok(event) => event.payload.len(),
            Err(shown) => shown.len(),
        };
        let bytes = u32::try_from(payload + ENVELOPE).unwrap_or(MOST_BYTES).min(MOST_BYTES);
        // Nobody closes it.
        let room = Arc::clone(&self.0).acquire_many_owned(bytes).await.ok();
        Taken { delivery, _room: room }
    }
}

#[cfg(test)]
impl From<Delivery> for Taken {
    fn from(delivery: Delivery) -> Self {
        Self { delivery, _room: None }
    }
}

impl Deref for Taken {
    type Target = Delivery;

    fn deref(&self) -> &Delivery {
        &self.delivery
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::{Topic, bus::Receipt};

    fn of(bytes: usize) -> Delivery {
        let receipt = Receipt { topic: Topic::named("a", "b"), position: String::new() };
        Delivery { receipt, event: Err("x".repeat(bytes)), buried: None, again: false }
    }

    #[test]
    fn there_is_room_for_so_many_bytes_and_for_one_that_is_larger() {
        let room = Room::new();
        let half = MOST_BYTES as usize / 2 - ENVELOPE;
        let first = room.take(of(half)).now_or_never().unwrap();
        let second = room.take(of(half)).now_or_never().unwrap();
        assert!(room.take(of(0)).now_or_never().is_none());
        drop(first);
        assert!(room.take(of(0)).now_or_never().is_some());
        drop(second);
        assert!(room.take(of(MOST_BYTES as usize * 2)).now_or_never().is_some());
    }
}
