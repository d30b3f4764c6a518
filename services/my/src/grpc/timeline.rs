//! `ListTimeline`: of the caller, and of nobody else. The history is the timeline; numbers are dense and times never run backward, so a
//! page from the end is a page of numbers, and the first that is too old ends the list.

use coreloop_access::Caller;
use coreloop_core::page;
use coreloop_eventstore::Recorded;
use coreloop_my_api::v1::{self, TimelineKind};
use jiff::{SignedDuration, Timestamp};
use tonic::{Request, Response};

use super::proto_impact;
use crate::{
    App, Error,
    person::{Happened, Moved, Person, Scanned, What},
    store::people,
    times::{from_micros, proto_time},
};

/// Name of the list in its page tokens.
const TIMELINE: &str = "my.timeline";

/// `ListTimeline`.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_timeline(
    app: &App,
    request: Request<v1::ListTimelineRequest>,
) -> Result<Response<v1::ListTimelineResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let asked = request.get_ref();
    let size = page::size(asked.page_size);
    let from: Option<i64> = page::decode(TIMELINE, &asked.page_token)?;
    let newest = match from {
        Some(from) => from.max(0),
        None => people::known(&app.db, user).await?.version,
    };
    let after = newest.saturating_sub(size).max(0);
    let mut connection = app.db.acquire().await?;
    let happened = app.history.history::<Person>(&mut connection, user, after, newest - after).await?;
    let oldest = oldest(app.now(), app.options.timeline_days);
    let goes_on = after > 0 && happened.first().is_some_and(|first| first.at >= oldest);
    let young = happened.into_iter().rev().take_while(|recorded| recorded.at >= oldest);
    Ok(Response::new(v1::ListTimelineResponse {
        entries: young.filter_map(proto_entry).collect(),
        next_page_token: if goes_on { page::encode(TIMELINE, &after) } else { String::new() },
    }))
}

fn oldest(now: Timestamp, days: u32) -> Timestamp {
    now.saturating_sub(SignedDuration::from_hours(i64::from(days) * 24)).unwrap_or(Timestamp::MIN)
}

fn proto_entry(recorded: Recorded<Happened>) -> Option<v1::TimelineEntry> {
    let entry = v1::TimelineEntry { sequence: recorded.sequence, ..v1::TimelineEntry::default() };
    Some(match recorded.event {
        Happened::Scanned(scanned) => proto_scanned(scanned, entry),
        Happened::Moved(moved) => proto_moved(moved, entry),
        Happened::Earned(earned) => v1::TimelineEntry {
            kind: TimelineKind::BadgeEarned.into(),
            subject: earned.code,
            occurred_at: Some(proto_time(from_micros(earned.at))),
            ..entry
        },
        Happened::Changed(changed) => v1::TimelineEntry {
            kind: TimelineKind::ProfileUpdated.into(),
            subject: changed.fields.join(","),
            occurred_at: Some(proto_time(from_micros(changed.at))),
            ..entry
        },
        Happened::Visited(visited) => v1::TimelineEntry {
            kind: TimelineKind::Visited.into(),
            subject: visited.shop_id,
            occurred_at: Some(proto_time(from_micros(visited.at))),
            ..entry
        },
        Happened::Closed => return None,
    })
}

fn proto_scanned(scanned: Scanned, entry: v1::TimelineEntry) -> v1::TimelineEntry {
    let recycled = scanned.worth.recycled > 0;
    v1::TimelineEntry {
        kind: TimelineKind::Scanned.into(),
        subject: scanned.category,
        recycled,
        impact: recycled.then(|| proto_impact(&scanned.worth)),
        occurred_at: Some(proto_time(from_micros(scanned.at))),
        ..entry
    }
}

fn proto_moved(moved: Moved, entry: v1::TimelineEntry) -> v1::TimelineEntry {
    let kind = match moved.what {
        What::Acquired => TimelineKind::CharacterAcquired,
        What::Lost => TimelineKind::CharacterLost,
        What::Evolved => TimelineKind::CharacterEvolved,
    };
    v1::TimelineEntry {
        kind: kind.into(),
        subject: moved.code,
        level: moved.level,
        occurred_at: Some(proto_time(from_micros(moved.at))),
        ..entry
    }
}
