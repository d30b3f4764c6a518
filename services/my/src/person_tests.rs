//! Whatever happened, and in whatever order it was heard, the same comes of it.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn scanned(task: u32, day: i32, recycled: bool) -> Happened {
    let worth = if recycled {
        Footprint { scans: 1, recycled: 1, tree_milli: 20, water_ml: 7_000, co2_g: 230 }
    } else {
        Footprint { scans: 1, ..Footprint::default() }
    };
    let category = if task.is_multiple_of(2) { "pet" } else { "general" }.to_owned();
    Happened::Scanned(Scanned { task_id: task.to_string(), category, day, worth, at: 7 })
}

fn moved(version: i64, owned: Option<i32>) -> Happened {
    let what = if owned.is_some() { What::Acquired } else { What::Evolved };
    Happened::Moved(Moved { what, code: "CHR001".to_owned(), level: 1, owned, version, at: 7 })
}

fn folded(events: &[Happened]) -> Person {
    let mut person = Person::default();
    for event in events {
        person.apply(event);
    }
    person
}

#[test]
fn what_is_written_is_read_again() {
    let earned = Happened::Earned(Earned { code: "STREAK_7".to_owned(), at: 1_795_219_200_000_000 });
    let changed = Happened::Changed(Changed { fields: vec!["nickname".to_owned()], at: 7 });
    let visited = Visited { visit_id: "v".to_owned(), shop_id: "s".to_owned(), at: 7 };
    let visited = Happened::Visited(visited);
    for event in [scanned(1, -3, true), moved(4, Some(2)), moved(5, None), earned, changed, visited, Happened::Closed] {
        let again = Happened::decode(event.event_type(), event.encode().unwrap()).unwrap();
        assert_eq!(again, event);
        assert!(Happened::TYPES.iter().any(|known| known.name == event.event_type()));
    }
    let person = folded(&[scanned(1, -3, true), moved(4, Some(2))]);
    let written = serde_json::to_value(&person).unwrap();
    assert_eq!(serde_json::from_value::<Person>(written).unwrap(), person);
}

#[test]
fn the_newest_event_of_a_collection_counts_whenever_it_is_heard() {
    assert_eq!(folded(&[moved(5, Some(1)), moved(4, Some(2)), moved(6, None)]).owned, 1);
    assert_eq!(folded(&[moved(4, Some(2)), moved(5, Some(1))]).owned_version, 5);
}

#[test]
fn of_a_closed_account_nothing_is_left() {
    let events = [scanned(1, 1, true), moved(1, Some(1)), Happened::Closed];
    assert_eq!(folded(&events), Person { closed: true, ..Person::default() });
}

/// Days and whether something was recycled.
type Days = Vec<(i32, bool)>;

/// Days as they were and as they may be heard.
fn in_two_orders() -> impl Strategy<Value = (Days, Days)> {
    let days = prop::collection::vec((-9..9_i32, any::<bool>()), 0..30);
    days.prop_flat_map(|days| (Just(days.clone()), Just(days).prop_shuffle()))
}

proptest! {
    #[test]
    fn the_order_in_which_days_are_heard_does_not_matter((one, other) in in_two_orders()) {
        let heard = |days: &[(i32, bool)]| {
            folded(&days.iter().map(|(day, recycled)| scanned(0, *day, *recycled)).collect::<Vec<_>>())
        };
        let (one, other) = (heard(&one), heard(&other));
        prop_assert_eq!(&one, &other);
        let total = one.days.values().fold(Footprint::default(), |sum, day| sum.plus(day));
        prop_assert_eq!(one.total, total);
        prop_assert_eq!(total.water_ml, total.recycled * 7_000);
    }
}
