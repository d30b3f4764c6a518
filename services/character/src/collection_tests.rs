#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::times::proto_micros;

/// 2026-11-22T14:00:00Z, an hour before a week of Korea ends.
const BEGIN: i64 = 1_795_356_000_000_000;
const MINUTE: i64 = 60_000_000;

/// A step: what is tried, on which character, how many minutes later.
type Step = (u8, u8, i64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..40_u8, 0..6_u8, prop_oneof![3 => 0..600_i64, 1 => 0..30_000_i64]), 0..50)
}

/// The history that the steps make: what the rules would refuse does not happen.
fn history(steps: &[Step]) -> Vec<Happened> {
    let (mut state, mut events, mut now) = (Collection::default(), Vec::new(), BEGIN);
    for (what, code, minutes) in steps {
        now += minutes * MINUTE;
        let (code, version, at) = (format!("CHR00{code}"), events.len() as i64 + 1, Some(proto_micros(now)));
        let owned = state.owned.get(&code);
        let event = match (what, owned) {
            _ if state.closed => continue,
            (0, _) => Happened::Closed(CharacterClosed { version, occurred_at: at, ..CharacterClosed::default() }),
            (_, None) => Happened::Acquired(CharacterAcquired {
                code,
                version,
                source: ["scan", "unlock", "campaign"][usize::from(what % 3)].to_owned(),
                expires_at: what.is_multiple_of(5).then(|| proto_micros(now + 7 * MINUTE)),
                occurred_at: at,
                ..CharacterAcquired::default()
            }),
            (1..=15, Some(_)) => {
                let cause = [EXPIRED, DELETED, "traded"][usize::from(what % 3)].to_owned();
                Happened::Lost(CharacterLost { code, version, cause, occurred_at: at, ..CharacterLost::default() })
            }
            (_, Some(piece)) => {
                let level = piece.level + 1;
                Happened::Evolved(CharacterEvolved {
                    code,
                    version,
                    level,
                    occurred_at: at,
                    ..CharacterEvolved::default()
                })
            }
        };
        state.apply(&event);
        events.push(event);
    }
    events
}

/// The state after each event, that before the first too.
fn states(events: &[Happened]) -> Vec<Collection> {
    let mut states = vec![Collection::default()];
    for event in events {
        let mut next = states[states.len() - 1].clone();
        next.apply(event);
        states.push(next);
    }
    states
}

/// The same by other means: each character by the last of what happened to it.
fn told(events: &[Happened]) -> (BTreeMap<String, (i32, i64)>, BTreeMap<String, u32>) {
    let (mut owned, mut weeks) = (BTreeMap::new(), BTreeMap::<String, u32>::new());
    if events.iter().any(|event| matches!(event, Happened::Closed(_))) {
        return (owned, weeks);
    }
    for event in events.iter().rev() {
        if let Happened::Acquired(fact) = event {
            let week = week::of(from_micros(micros(fact.occurred_at.as_ref().unwrap())));
            if weeks.len() < WEEKS || weeks.contains_key(&week) {
                *weeks.entry(week).or_default() += 1;
            }
        }
    }
    for number in 0..6 {
        let code = format!("CHR00{number}");
        let came = events.iter().rposition(|event| matches!(event, Happened::Acquired(fact) if fact.code == code));
        let Some(came) = came else { continue };
        let (mut level, mut there) = (1, true);
        for event in &events[came + 1..] {
            match event {
                Happened::Lost(fact) if fact.code == code => there = false,
                Happened::Evolved(fact) if fact.code == code => level = fact.level,
                _ => {}
            }
        }
        let Happened::Acquired(fact) = &events[came] else { continue };
        if there {
            owned.insert(code, (level, micros(fact.occurred_at.as_ref().unwrap())));
        }
    }
    (owned, weeks)
}

/// Redis, as the scripts of `views` leave it.
#[derive(Default)]
struct Board {
    generation: u64,
    rebuilding: bool,
    own: BTreeMap<usize, Kept>,
    /// The rankings that serve, and those that are to come.
    ranking: [BTreeMap<String, BTreeMap<usize, u32>>; 2],
}

#[derive(Default)]
struct Kept {
    generation: u64,
    version: usize,
    owned: BTreeMap<String, Piece>,
    weeks: Vec<String>,
}

impl Board {
    fn put(&mut self, user: usize, version: usize, state: &Collection) {
        let kept = self.own.entry(user).or_default();
        if kept.generation == self.generation && kept.version >= version && version > 0 {
            return;
        }
        for ranking in self.ranking.iter_mut().take(if self.rebuilding { 2 } else { 1 }) {
            for week in &kept.weeks {
                if let Some(places) = ranking.get_mut(week) {
                    places.remove(&user);
                }
            }
            for (week, score) in &state.weeks {
                ranking.entry(week.clone()).or_default().insert(user, *score);
            }
        }
        let (owned, weeks) = (state.owned.clone(), state.weeks.keys().cloned().collect());
        *kept = Kept { generation: self.generation, version, owned, weeks };
    }

    fn begin(&mut self) {
        self.generation += 1;
        self.rebuilding = true;
        self.ranking[1].clear();
    }

    fn end(&mut self) {
        self.rebuilding = false;
        self.ranking[0] = std::mem::take(&mut self.ranking[1]);
    }

    fn scores(&self, user: usize) -> BTreeMap<String, u32> {
        let of = |(week, places): (&String, &BTreeMap<usize, u32>)| Some((week.clone(), *places.get(&user)?));
        self.ranking[0].iter().filter_map(of).collect()
    }
}

/// What is done to the board: what the consumer saw when it looked, late or twice; and the steps of a rebuild.
#[derive(Debug, Clone, Copy)]
enum Write {
    Seen { user: usize, version: usize },
    Begin,
    Anew { user: usize },
    End,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// M9: replay = snapshot = what the facts say = the view, in whatever order and however often it is told, and rebuilt meanwhile.
    #[test]
    fn every_way_to_a_collection_leads_there(
        steps in prop::collection::vec(steps(), 2),
        cut in any::<prop::sample::Index>(),
        late in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..40),
        rebuild in prop::collection::vec(any::<prop::sample::Index>(), 4),
    ) {
        let histories: Vec<Vec<Happened>> = steps.iter().map(|steps| history(steps)).collect();
        let truth: Vec<Vec<Collection>> = histories.iter().map(|events| states(events)).collect();
        let mut writes = Vec::new();
        for (user, events) in histories.iter().enumerate() {
            // A snapshot in between, written down and read again.
            let (taken, last) = (cut.index(events.len() + 1), &truth[user][events.len()]);
            let snapshot = serde_json::to_string(&truth[user][taken]).unwrap();
            let mut resumed: Collection = serde_json::from_str(&snapshot).unwrap();
            events[taken..].iter().for_each(|event| resumed.apply(event));
            prop_assert_eq!(&resumed, last);
            prop_assert_eq!(serde_json::to_string(&resumed).unwrap(), serde_json::to_string(last).unwrap());

            let owned: BTreeMap<_, _> =
                resumed.owned.iter().map(|(code, piece)| (code.clone(), (piece.level, piece.acquired_at))).collect();
            prop_assert_eq!((owned, resumed.weeks), told(events));
            writes.extend((1..=events.len()).map(|version| Write::Seen { user, version }));
        }
        // Each look finds what is told, or something newer; some are late, some come twice.
        for (which, place) in late {
            if writes.is_empty() { break }
            let mut write = writes[which.index(writes.len())];
            if let Write::Seen { user, version } = &mut write {
                *version += place.index(histories[*user].len() - *version + 1);
            }
            writes.insert(place.index(writes.len() + 1), write);
        }
        let mut at: Vec<usize> = rebuild.iter().map(|place| place.index(writes.len() + 1)).collect();
        at.sort_unstable();
        let parts = [Write::Begin, Write::Anew { user: 0 }, Write::Anew { user: 1 }, Write::End];
        for (place, part) in at.into_iter().zip(parts).rev() {
            writes.insert(place, part);
        }
        let mut board = Board::default();
        for write in writes {
            match write {
                Write::Seen { user, version } => board.put(user, version, &truth[user][version]),
                Write::Begin => board.begin(),
                Write::Anew { user } => board.put(user, histories[user].len(), &truth[user][histories[user].len()]),
                Write::End => board.end(),
            }
        }
        for (user, events) in histories.iter().enumerate() {
            let (kept, last) = (board.own.remove(&user).unwrap_or_default(), &truth[user][events.len()]);
            prop_assert_eq!((kept.version, &kept.owned), (events.len(), &last.owned));
            prop_assert_eq!(&board.scores(user), &last.weeks);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn an_event_is_read_as_it_was_written(steps in steps()) {
        for event in history(&steps) {
            let read = Happened::decode(event.event_type(), event.encode().unwrap()).unwrap();
            prop_assert_eq!(read, event);
        }
    }
}

#[test]
fn a_collection_knows_the_newest_weeks_alone() {
    let come = |number: i64| {
        let at = BEGIN + number * 7 * 24 * 60 * MINUTE;
        let occurred_at = Some(proto_micros(at));
        Happened::Acquired(CharacterAcquired { code: number.to_string(), occurred_at, ..CharacterAcquired::default() })
    };
    let states = states(&(0..10).map(come).collect::<Vec<_>>());
    let state = &states[10];
    assert_eq!(state.weeks.keys().next().map(String::as_str), Some("2026-W49"));
    assert_eq!((state.weeks.len(), state.owned.len()), (WEEKS, 10));
}
