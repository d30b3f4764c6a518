//! The JSON of messages that several sockets get: made once.
//!
//! A user's sockets each have a stream of their own, possibly of a service in another process, and each stream brings the same bytes.
//! What was made of them last is kept for a moment, in a fixed number of places: **another message in one's place costs the making
//! anew and nothing else**. A place answers only for the very bytes it was made of, which say whose they are.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use coreloop_core::Problem;
use coreloop_transcode::{response::Encoder, router::Route};

/// Messages that are kept: as many as the sockets of a few busy users get while they are written to.
const PLACES: usize = 512;
/// Larger messages are made each time; what is kept is bounded by this times [`PLACES`], and as much again for the JSON.
const LARGEST: usize = 4 * 1024;

/// The texts that were made last.
pub(crate) struct Texts {
    places: Box<[Mutex<Option<Text>>]>,
    hasher: RandomState,
}

struct Text {
    route: &'static Route,
    message: Box<[u8]>,
    json: Bytes,
}

impl Default for Texts {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl Texts {
    /// The JSON of a message of `route`.
    ///
    /// # Errors
    /// INTERNAL when the bytes are not that message.
    pub(crate) fn of(
        &self,
        encoder: &Encoder<'static>,
        route: &'static Route,
        message: &[u8],
    ) -> Result<Bytes, Problem> {
        let at = self.hasher.hash_one(message) as usize % PLACES;
        let Some(place) = self.places.get(at).filter(|_| message.len() <= LARGEST) else {
            return encoder.stream_json(route, message);
        };
        let held = || place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = held().as_ref().filter(|text| text.is_of(route, message)) {
            return Ok(text.json.clone());
        }
        let json = encoder.stream_json(route, message)?;
        *held() = Some(Text { route, message: message.into(), json: json.clone() });
        Ok(json)
    }
}

impl Text {
    fn is_of(&self, route: &'static Route, message: &[u8]) -> bool {
        std::ptr::eq(self.route, route) && *self.message == *message
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use coreloop_transcode::router::router;

    use super::*;

    fn route(template: &str) -> &'static Route {
        router().routes().iter().find(|route| route.template.to_string() == template).unwrap()
    }

    /// Field 1 with these bytes.
    fn first(bytes: &[u8]) -> Vec<u8> {
        let length = bytes.len();
        [&[0x0a, ((length & 0x7f) | 0x80) as u8, (length >> 7) as u8], bytes].concat()
    }

    /// What `Sync` answers: a message whose type is so long and begins with a number.
    fn message(number: usize, length: usize) -> Vec<u8> {
        first(&first(format!("{number:x<length$}").as_bytes()))
    }

    #[test]
    fn one_message_is_made_once_and_each_gets_its_own() {
        let (texts, encoder) = (Texts::default(), Encoder::new(router()));
        let sync = route("/api/realtime/sync");
        for number in 0..4_000_usize {
            let message = message(number, 200);
            let made = texts.of(&encoder, sync, &message).unwrap();
            assert_eq!(made, encoder.stream_json(sync, &message).unwrap());
            let again = texts.of(&encoder, sync, &message).unwrap();
            assert_eq!(again.as_ptr(), made.as_ptr(), "made anew");
        }
    }

    #[test]
    fn what_is_large_or_no_message_is_not_kept() {
        let (texts, encoder) = (Texts::default(), Encoder::new(router()));
        let sync = route("/api/realtime/sync");
        let large = message(1, LARGEST);
        let made = texts.of(&encoder, sync, &large).unwrap();
        assert_ne!(texts.of(&encoder, sync, &large).unwrap().as_ptr(), made.as_ptr());
        assert!(texts.of(&encoder, sync, &[0xff]).is_err());
        assert!(texts.places.iter().all(|place| place.lock().unwrap().is_none()));
    }

    #[test]
    fn the_same_bytes_on_another_route_are_another_message() {
        let (texts, encoder) = (Texts::default(), Encoder::new(router()));
        let message = message(1, 200);
        let one = texts.of(&encoder, route("/api/realtime/sync"), &message).unwrap();
        let other = texts.of(&encoder, route("/api/games/ws"), &message).unwrap();
        assert_ne!(other.as_ptr(), one.as_ptr());
    }
}
