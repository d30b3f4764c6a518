//! What somebody has come to, put together of what others know and what is known here.
//!
//! Sources are asked side by side, each for `my.part_timeout_ms`. What one does not say is told as it was last known, and named: of
//! characters what was heard of them, else the last whole summary.

use coreloop_db::deadline;
use coreloop_my_api::v1::{CharactersPart, GetSummaryResponse, RecyclingPart, StreakPart};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    App, Error,
    grpc::proto_impact,
    metrics::{PartLabels, SummaryLabels},
    store::people::{self, Known},
    times::{day_of, day_text, of_fact, proto_time},
};

const CHARACTERS: &str = "characters";
const RECYCLING: &str = "recycling";
const STREAK: &str = "streak";

/// The summary of a user.
///
/// # Errors
/// When nobody can tell any part of it.
pub async fn of(app: &App, user: Uuid) -> Result<GetSummaryResponse, Error> {
    let (kept, now) = (app.cache.find(user).await, app.now());
    if let Some(kept) = kept.as_ref().filter(|kept| is_young(kept, now, app.options.summary_cache_secs)) {
        app.metrics.summaries.get_or_create(&SummaryLabels { from: "kept" }).inc();
        return Ok(kept.clone());
    }
    let patience = app.options.part_patience();
    let (characters, known) = futures::join!(
        deadline::within(patience, app.peers.characters(user)),
        deadline::within(patience, people::known(&app.db, user)),
    );
    if let Some(Err(problem)) = &characters {
        tracing::debug!(%problem, "the character service says nothing for a summary");
    }
    if let Some(Err(error)) = &known {
        tracing::debug!(%error, "the database says nothing for a summary");
    }
    let parts = Parts { characters: characters.and_then(Result::ok), known: known.and_then(Result::ok) };
    let summary = parts.together(kept.unwrap_or_default(), now);
    for part in [CHARACTERS, RECYCLING, STREAK].into_iter().filter(|part| summary.stale.iter().any(|one| one == part)) {
        app.metrics.stale.get_or_create(&PartLabels { part }).inc();
    }
    if summary.characters.is_none() && summary.recycling.is_none() && summary.streak.is_none() {
        let away = "nobody can tell what the caller has come to";
        return Err(coreloop_core::Problem::unavailable(away, "every source is away").into());
    }
    app.metrics.summaries.get_or_create(&SummaryLabels { from: "made" }).inc();
    if summary.stale.is_empty() {
        app.cache.keep(user, &summary).await;
    }
    Ok(summary)
}

/// It may be answered again. One of the future is of a clock that is wrong.
fn is_young(kept: &GetSummaryResponse, now: Timestamp, secs: u32) -> bool {
    let age = of_fact(kept.as_of.as_ref()).map(|at| now.duration_since(at));
    age.is_some_and(|age| !age.is_negative() && age < jiff::SignedDuration::from_secs(secs.into()))
}

/// What sources said.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    characters: Option<i32>,
    known: Option<Known>,
}

impl Parts {
    /// The summary, with what was last known where a source said nothing.
    fn together(self, kept: GetSummaryResponse, now: Timestamp) -> GetSummaryResponse {
        let mut stale = Vec::new();
        let characters = self.characters.map(|owned| CharactersPart { owned }).or_else(|| {
            stale.push(CHARACTERS.to_owned());
            let heard = self.known.filter(|known| known.owned_version > 0);
            heard.map(|known| CharactersPart { owned: known.owned }).or(kept.characters)
        });
        let (recycling, streak) = match &self.known {
            Some(known) => (Some(recycling(known)), Some(streak(known, now))),
            None => {
                stale.extend([RECYCLING.to_owned(), STREAK.to_owned()]);
                (kept.recycling, kept.streak)
            }
        };
        GetSummaryResponse { characters, recycling, streak, stale, as_of: Some(proto_time(now)) }
    }
}

fn recycling(known: &Known) -> RecyclingPart {
    RecyclingPart { recycled: known.total.recycled, impact: Some(proto_impact(&known.total)) }
}

fn streak(known: &Known, now: Timestamp) -> StreakPart {
    StreakPart {
        current: known.streak.current(day_of(now)),
        longest: known.streak.longest,
        last_day: known.streak.last_day.map(day_text).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::{person::Footprint, streak::Streak};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn known(owned_version: i64) -> Known {
        let total = Footprint { scans: 3, recycled: 2, tree_milli: 40, water_ml: 14_000, co2_g: 460 };
        let streak = Streak { run: 2, last_day: Some(-1), longest: 5 };
        Known { version: 9, total, streak, variety: 1, owned: 4, owned_version }
    }

    #[test]
    fn what_every_source_says_is_not_stale() {
        let parts = Parts { characters: Some(6), known: Some(known(3)) };
        let summary = parts.together(GetSummaryResponse::default(), NOW);
        assert!(summary.stale.is_empty());
        assert_eq!(summary.characters.map(|part| part.owned), Some(6));
        let streak = summary.streak.unwrap_or_default();
        assert_eq!((streak.current, streak.longest, streak.last_day.as_str()), (2, 5, "1969-12-31"));
    }

    #[test]
    fn what_a_source_does_not_say_is_as_it_was_last_known_and_named() {
        let kept = Parts { characters: Some(6), known: Some(known(3)) }.together(GetSummaryResponse::default(), NOW);
        let of =
            |characters, heard: Option<i64>| Parts { characters, known: heard.map(known) }.together(kept.clone(), NOW);
        let heard = of(None, Some(3));
        assert_eq!((heard.characters.map(|part| part.owned), heard.stale), (Some(4), vec![CHARACTERS.to_owned()]));
        let never_heard = of(None, Some(0));
        assert_eq!(never_heard.characters.map(|part| part.owned), Some(6));
        let no_database = of(Some(7), None);
        assert_eq!(no_database.characters.map(|part| part.owned), Some(7));
        assert_eq!((&no_database.recycling, &no_database.streak), (&kept.recycling, &kept.streak));
        assert_eq!(no_database.stale, [RECYCLING, STREAK]);
        let nobody = Parts::default().together(GetSummaryResponse::default(), NOW);
        assert_eq!((nobody.characters, nobody.recycling, nobody.stale.len()), (None, None, 3));
    }

    #[test]
    fn a_summary_is_answered_again_while_it_is_young() {
        let kept = Parts::default().together(GetSummaryResponse::default(), NOW);
        let after = |secs| is_young(&kept, NOW + SignedDuration::from_secs(secs), 15);
        assert_eq!([-1, 0, 14, 15].map(after), [false, true, true, false]);
        assert!(!is_young(&kept, NOW, 0));
        assert!(!is_young(&GetSummaryResponse::default(), NOW, 15));
    }
}
