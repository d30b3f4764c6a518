//! `Track`: fixes come, and what follows from them goes, at most two messages a second.
//!
//! Fixes are read as they come and the newest counts, so whoever sends too many neither waits nor makes anything grow. One that is
//! no place is refused with a message of its own, and the stream goes on; what is no message at all ends it.

use std::{sync::Arc, time::Duration};

use coreloop_access::Caller;
use coreloop_core::{Problem, Reason};
use coreloop_location_api::v1::{self, TrackRequest, TrackResponse};
use futures::{StreamExt as _, stream::BoxStream};
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::{
    App, Error,
    globe::Point,
    kakao::FARTHEST_M,
    nearby::RADIUS_M,
    times::proto_time,
    tracking::{Map, Seat, Step},
};

/// The messages of a live map.
pub type Updates = BoxStream<'static, Result<TrackResponse, Status>>;

/// `Track`.
///
/// # Errors
/// `TOO_MANY_TRACKS`.
pub fn track(app: &Arc<App>, request: Request<Streaming<TrackRequest>>) -> Result<Response<Updates>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let seat = app.tracks.open(user)?;
    let tracking = Tracking::new(app, seat, request.into_inner().boxed());
    let updates = futures::stream::unfold(tracking, |mut tracking| async move {
        let update = tracking.next().await?;
        Some((update, tracking))
    });
    Ok(Response::new(updates.boxed()))
}

/// Where somebody is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fix {
    id: i64,
    place: Point,
    radius_m: Option<u32>,
}

/// A fix that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    id: i64,
    detail: &'static str,
}

impl Fix {
    fn read(said: &TrackRequest) -> Result<Self, Refused> {
        let id = said.fix_id;
        let refused = |detail| Refused { id, detail };
        let (Some(lat), Some(lng)) = (said.lat, said.lng) else { return Err(refused("lat and lng must be set")) };
        let place = Point::new(lat, lng).ok_or_else(|| refused("lat must be -90 to 90, lng -180 to 180"))?;
        let radius_m = u32::try_from(said.radius).ok().filter(|radius| *radius <= FARTHEST_M);
        let radius_m = radius_m.ok_or_else(|| refused("radius must be 0 to 20000"))?;
        Ok(Self { id, place, radius_m: Some(radius_m).filter(|radius| *radius > 0) })
    }
}

/// One live map.
struct Tracking {
    app: Arc<App>,
    _seat: Seat,
    fixes: BoxStream<'static, Result<TrackRequest, Status>>,
    waiting: Waiting,
    map: Map,
    /// Where they are, of which fix, and how far is looked.
    at: Option<(i64, Point)>,
    radius_m: u32,
    opened: bool,
    /// Nothing more comes; with what, if it was no good end.
    over: Option<Option<Problem>>,
    /// When something was said last.
    said: Instant,
    gap: Duration,
    beat: Duration,
}

impl Tracking {
    fn new(app: &Arc<App>, seat: Seat, fixes: BoxStream<'static, Result<TrackRequest, Status>>) -> Self {
        Self {
            map: Map::of(seat.user()),
            _seat: seat,
            fixes,
            waiting: Waiting::default(),
            at: None,
            radius_m: RADIUS_M,
            opened: false,
            over: None,
            said: Instant::now(),
            gap: Duration::from_millis(app.options.track_gap_ms),
            beat: Duration::from_secs(app.options.track_beat_secs),
            app: Arc::clone(app),
        }
    }

    /// The next message, when it is time for one. None when all is said.
    async fn next(&mut self) -> Option<Result<TrackResponse, Status>> {
        if !self.opened {
            self.opened = true;
            return Some(Ok(self.message("opened")));
        }
        loop {
            let waits = self.waiting.any();
            if !waits && let Some(over) = &mut self.over {
                return over.take().map(|problem| Err(problem.into()));
            }
            tokio::select! {
                // First: whoever sends without end is answered all the same.
                biased;
                () = sleep_until(self.said + self.gap), if waits => return Some(Ok(self.answer().await)),
                fix = self.fixes.next(), if self.over.is_none() => self.heard(fix),
                () = sleep_until(self.said + self.beat), if !waits => return Some(Ok(self.look().await)),
            }
        }
    }

    fn heard(&mut self, said: Option<Result<TrackRequest, Status>>) {
        match said {
            Some(Ok(said)) => match Fix::read(&said) {
                Ok(fix) => {
                    if self.waiting.fix.replace(fix).is_some() {
                        self.app.metrics.fix("overtaken");
                    }
                }
                Err(refused) => {
                    self.app.metrics.fix("refused");
                    self.waiting.refused = Some(refused);
                }
            },
            Some(Err(status)) => self.over = Some(Some(unreadable(&status))),
            None => self.over = Some(None),
        }
    }

    /// To what waits.
    async fn answer(&mut self) -> TrackResponse {
        match self.waiting.take() {
            Some(Ok(fix)) => {
                self.app.metrics.fix("taken");
                self.radius_m = fix.radius_m.unwrap_or(self.radius_m);
                self.at = Some((fix.id, fix.place));
                let step = self.map.step(&self.app, fix.place, self.radius_m).await;
                self.position(fix.id, step)
            }
            Some(Err(Refused { id, detail })) => TrackResponse {
                fix_id: id,
                reason: "FIX_INVALID".to_owned(),
                detail: detail.to_owned(),
                ..self.message("refused")
            },
            None => self.message("idle"),
        }
    }

    /// What changed around somebody who says nothing: a shop has opened or closed.
    async fn look(&mut self) -> TrackResponse {
        let Some((id, place)) = self.at else { return self.message("idle") };
        match self.map.step(&self.app, place, self.radius_m).await {
            Some(step) if step.is_news => self.position(id, Some(step)),
            _ => self.message("idle"),
        }
    }

    fn position(&mut self, fix_id: i64, step: Option<Step>) -> TrackResponse {
        let reason = if step.is_none() { "SHOPS_UNAVAILABLE" } else { "" };
        let Step { source, entered, left, distances, .. } = step.unwrap_or_default();
        let message = self.message("position");
        TrackResponse { fix_id, reason: reason.to_owned(), source, entered, left, distances, ..message }
    }

    fn message(&mut self, kind: &str) -> TrackResponse {
        self.said = Instant::now();
        let timestamp = Some(proto_time(self.app.clock.now()));
        v1::TrackResponse { r#type: kind.to_owned(), timestamp, ..TrackResponse::default() }
    }
}

/// What is to be answered: the newest fix, and the newest that was none, one after the other.
#[derive(Debug, Default)]
struct Waiting {
    fix: Option<Fix>,
    refused: Option<Refused>,
    refused_last: bool,
}

impl Waiting {
    fn any(&self) -> bool {
        self.fix.is_some() || self.refused.is_some()
    }

    fn take(&mut self) -> Option<Result<Fix, Refused>> {
        let refuse = self.fix.is_none() || !self.refused_last;
        if let Some(refused) = self.refused.take_if(|_| refuse) {
            self.refused_last = true;
            return Some(Err(refused));
        }
        self.refused_last = false;
        self.fix.take().map(Ok)
    }
}

/// What came is no message, or a larger one than is read.
fn unreadable(status: &Status) -> Problem {
    match status.code() {
        Code::OutOfRange => Problem::common(Reason::BodyTooLarge, "a message is larger than is read"),
        _ => Problem::common(Reason::MalformedRequest, "what was sent is no message of this stream"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(id: i64, lat: f64, lng: f64, radius: i32) -> TrackRequest {
        TrackRequest { fix_id: id, lat: Some(lat), lng: Some(lng), radius }
    }

    #[test]
    fn what_is_no_place_is_refused_and_names_the_fix() {
        for bad in [
            TrackRequest { fix_id: 7, ..TrackRequest::default() },
            TrackRequest { lng: None, ..said(7, 1.0, 1.0, 0) },
            said(7, 90.1, 0.0, 0),
            said(7, 0.0, -180.1, 0),
            said(7, f64::NAN, 0.0, 0),
            said(7, 0.0, f64::INFINITY, 0),
            said(7, 0.0, 0.0, -1),
            said(7, 0.0, 0.0, 20_001),
        ] {
            assert_eq!(Fix::read(&bad).unwrap_err().id, 7, "{bad:?}");
        }
        let edge = Fix::read(&said(1, -90.0, 180.0, 20_000)).unwrap();
        assert_eq!(edge.radius_m, Some(20_000));
        assert_eq!(Fix::read(&said(1, 0.0, 0.0, 0)).unwrap().radius_m, None, "as before");
    }

    #[test]
    fn the_newest_counts_and_neither_kind_keeps_the_other_waiting() {
        let mut waiting = Waiting::default();
        assert!(!waiting.any() && waiting.take().is_none());
        let (fix, refused) = (|id| Fix::read(&said(id, 0.0, 0.0, 0)).unwrap(), |id| Refused { id, detail: "" });
        for id in 0..10 {
            waiting.fix = Some(fix(id));
            waiting.refused = Some(refused(id));
        }
        assert_eq!(waiting.take(), Some(Err(refused(9))));
        waiting.refused = Some(refused(10));
        assert_eq!(waiting.take(), Some(Ok(fix(9))));
        waiting.fix = Some(fix(11));
        assert_eq!(waiting.take(), Some(Err(refused(10))));
        assert_eq!(waiting.take(), Some(Ok(fix(11))));
        assert!(!waiting.any());
    }

    #[test]
    fn what_is_no_message_is_told_as_what_it_is() {
        let told = |code| unreadable(&Status::new(code, "no")).reason().to_owned();
        assert_eq!([told(Code::OutOfRange), told(Code::Internal)], ["BODY_TOO_LARGE", "MALFORMED_REQUEST"]);
    }
}
