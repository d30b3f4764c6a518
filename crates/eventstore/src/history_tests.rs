#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::EventType;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Purse {
    owner: Option<String>,
    balances: BTreeMap<String, i64>,
    movements: u64,
    /// Not commutative: events out of order, left out or doubled show.
    trail: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Happened {
    Opened { owner: String },
    Credited { amount_minor: i64, currency: String },
    Debited { amount_minor: i64, currency: String },
    Closed,
}

/// Version 1 had no currency.
fn with_currency(mut payload: Value) -> Result<Value, BoxError> {
    payload.as_object_mut().ok_or("no object")?.entry("currency").or_insert_with(|| json!("gold"));
    Ok(payload)
}

/// Version 2 called it `amount` and wrote it as text.
fn in_minor(mut payload: Value) -> Result<Value, BoxError> {
    let fields = payload.as_object_mut().ok_or("no object")?;
    let amount: i64 = fields.remove("amount").as_ref().and_then(Value::as_str).ok_or("no amount")?.parse()?;
    fields.insert("amount_minor".into(), amount.into());
    Ok(payload)
}

impl Event for Happened {
    const TYPES: &'static [EventType] = &[
        EventType::new("purse.opened"),
        EventType { name: "purse.credited", upcasts: &[with_currency, in_minor] },
        EventType::new("purse.debited"),
        EventType::new("purse.closed"),
    ];

    fn event_type(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "purse.opened",
            Self::Credited { .. } => "purse.credited",
            Self::Debited { .. } => "purse.debited",
            Self::Closed => "purse.closed",
        }
    }

    fn encode(&self) -> Result<Value, BoxError> {
        Ok(match self {
            Self::Opened { owner } => json!({ "owner": owner }),
            Self::Credited { amount_minor, currency } | Self::Debited { amount_minor, currency } => {
                json!({ "amount_minor": amount_minor, "currency": currency })
            }
            Self::Closed => json!({}),
        })
    }

    fn decode(event_type: &str, payload: Value) -> Result<Self, BoxError> {
        let text = |name: &str| payload[name].as_str().map(str::to_owned).ok_or("a text is missing");
        let amount = || payload["amount_minor"].as_i64().ok_or("the amount is missing");
        Ok(match event_type {
            "purse.opened" => Self::Opened { owner: text("owner")? },
            "purse.credited" => Self::Credited { amount_minor: amount()?, currency: text("currency")? },
            "purse.debited" => Self::Debited { amount_minor: amount()?, currency: text("currency")? },
            _ => Self::Closed,
        })
    }
}

impl Aggregate for Purse {
    type Event = Happened;

    const TYPE: &'static str = "purse";
    const SCHEMA: i32 = 1;

    fn apply(&mut self, event: &Happened) {
        let (currency, change) = match event {
            Happened::Opened { owner } => (None, self.owner.replace(owner.clone()).map_or(0, |_| 1)),
            Happened::Credited { amount_minor, currency } => (Some(currency), *amount_minor),
            Happened::Debited { amount_minor, currency } => (Some(currency), amount_minor.wrapping_neg()),
            Happened::Closed => (None, self.balances.len() as i64),
        };
        if let Some(currency) = currency {
            let balance = self.balances.entry(currency.clone()).or_default();
            *balance = balance.wrapping_add(change);
            self.movements += 1;
        } else if matches!(event, Happened::Closed) {
            self.balances.clear();
        }
        self.trail = self.trail.wrapping_mul(0x0100_0000_01b3).wrapping_add(change.cast_unsigned()) ^ self.movements;
    }
}

const ID: Uuid = Uuid::from_u128(7);

/// An event in the words of the version it is written in.
fn stored(sequence: i64, event: &Happened, version: u8) -> Stored {
    let written = Written::of(event, Uuid::from_u128(sequence.cast_unsigned().into())).unwrap();
    // As Postgres gives it back.
    let mut payload: Value = serde_json::from_str(&written.payload).unwrap();
    let mut written_in = Some(written.version.to_string());
    if let (Happened::Credited { amount_minor, currency }, 0..=1) = (event, version) {
        payload = json!({ "amount": amount_minor.to_string(), "currency": currency });
        written_in = Some("2".into());
        if version == 0 && currency == "gold" {
            payload = json!({ "amount": amount_minor.to_string() });
            // Nobody wrote versions when there was one.
            written_in = None;
        }
    }
    Stored { sequence, id: written.id, event_type: written.event_type.into(), version: written_in, payload }
}

/// The table, the snapshots, and the states that they must tell.
struct Kept {
    rows: Vec<Stored>,
    snapshots: Vec<Snapshot>,
    truth: Vec<Purse>,
}

/// Writes a history as the store does: loaded from what is kept, then advanced by a few events, again and again.
fn keep(history: &[(Happened, u8)], writes: &[usize], every: i64) -> Kept {
    let mut kept = Kept { rows: Vec::new(), snapshots: Vec::new(), truth: vec![Purse::default()] };
    let (mut rest, mut writes) = (history, writes.iter().cycle());
    while !rest.is_empty() {
        let (now, later) = rest.split_at((*writes.next().unwrap()).clamp(1, rest.len()));
        let mut loaded = kept.state_at(kept.rows.len());
        for (event, version) in now {
            let row = stored(loaded.version() + 1, event, *version);
            let mut next = kept.truth.last().unwrap().clone();
            next.apply(event);
            kept.truth.push(next);
            let taken = loaded.advance(row.id, event, every);
            kept.snapshots.extend(taken.map(|snapshot| Snapshot {
                state: serde_json::from_str(&snapshot.state.to_string()).unwrap(),
                ..snapshot
            }));
            kept.rows.push(row);
        }
        assert_eq!(loaded.state(), kept.truth.last().unwrap());
        rest = later;
    }
    kept
}

impl Kept {
    /// As the statement of the store reads it.
    fn state_at(&self, version: usize) -> Loaded<Purse> {
        let at = i64::try_from(version).unwrap();
        let newest = self.snapshots.iter().rfind(|snapshot| snapshot.sequence <= at);
        let mut loaded = newest.map_or(Loaded::new(ID), |newest| Loaded::thaw(ID, newest.clone()).unwrap());
        let after = usize::try_from(loaded.version()).unwrap();
        self.rows[after..version].iter().for_each(|row| loaded.take(row.clone()).unwrap());
        loaded
    }

    fn replay(&self, version: usize) -> Loaded<Purse> {
        let mut loaded = Loaded::new(ID);
        self.rows[..version].iter().for_each(|row| loaded.take(row.clone()).unwrap());
        loaded
    }
}

fn event() -> impl Strategy<Value = (Happened, u8)> {
    let currency = prop_oneof![3 => Just("gold".to_owned()), 1 => "[a-z]{1,3}", 1 => "\\PC{0,4}"];
    let amount = prop_oneof![4 => 1..1_000_000_i64, 1 => any::<i64>()];
    let happened = (0..12_u8, amount, currency).prop_map(|(kind, amount_minor, currency)| match kind {
        0 => Happened::Opened { owner: currency },
        1..=6 => Happened::Credited { amount_minor, currency },
        7..=10 => Happened::Debited { amount_minor, currency },
        _ => Happened::Closed,
    });
    (happened, 0..4_u8)
}

/// Short histories with frequent snapshots, and now and then a long one as the store makes them.
fn history() -> impl Strategy<Value = (Vec<(Happened, u8)>, i64)> {
    prop_oneof![
        60 => (prop::collection::vec(event(), 0..20), 1..8_i64),
        1 => (prop::collection::vec(event(), 90..220), Just(crate::SNAPSHOT_EVERY)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// M9: replay = snapshot = the state at any version.
    #[test]
    fn every_way_to_a_state_leads_there(
        (history, every) in history(),
        writes in prop::collection::vec(1..12_usize, 1..5),
        at in prop::collection::vec(any::<prop::sample::Index>(), 2),
    ) {
        let kept = keep(&history, &writes, every);
        let versions = at.iter().map(|at| at.index(history.len() + 1)).chain([history.len()]);
        for version in versions {
            let (replayed, loaded) = (kept.replay(version), kept.state_at(version));
            prop_assert_eq!(replayed.state(), &kept.truth[version]);
            prop_assert_eq!(loaded.state(), &kept.truth[version]);
            prop_assert_eq!((loaded.version(), loaded.head()), (replayed.version(), replayed.head()));
        }
        for snapshot in &kept.snapshots {
            prop_assert!(kept.replay(usize::try_from(snapshot.sequence).unwrap()).agrees_with(snapshot.clone()));
        }
        // Never more to read than there is between two of them.
        prop_assert_eq!(kept.snapshots.len(), history.len() / usize::try_from(every).unwrap());
    }
}

fn credited(amount_minor: i64) -> Happened {
    Happened::Credited { amount_minor, currency: "gold".into() }
}

#[test]
fn an_event_that_cannot_be_read_is_not_skipped() {
    let good = stored(1, &credited(5), 3);
    let read = |change: fn(&mut Stored)| {
        let mut row = good.clone();
        change(&mut row);
        let mut loaded = Loaded::<Purse>::new(ID);
        let refused = loaded.take(row).err();
        assert_eq!(loaded.version(), i64::from(refused.is_none()));
        refused.map(|error| {
            (matches!(error, Error::Unreadable { .. }), std::error::Error::source(&error).map(|e| e.to_string()))
        })
    };
    assert_eq!(read(|_| ()), None);
    let because = |why: &str| Some((true, Some(why.to_owned())));
    assert_eq!(read(|row| row.event_type = "purse.stolen".into()), because("an event of an unknown type"));
    assert_eq!(read(|row| row.version = Some("4".into())), because("a version that is not known yet"));
    assert_eq!(read(|row| row.version = Some("0".into())), because("versions begin with 1"));
    assert_eq!(read(|row| row.version = Some("two".into())), because("invalid digit found in string"));
    assert_eq!(read(|row| row.version = Some("2".into())), because("no amount"));
    assert_eq!(read(|row| row.payload = json!([])), because("the amount is missing"));
}

#[test]
fn a_hole_is_found() {
    let mut loaded = Loaded::<Purse>::new(ID);
    loaded.take(stored(1, &credited(1), 3)).unwrap();
    for wrong in [3, 1, 0, -1, i64::MAX] {
        let refused = loaded.take(stored(wrong, &credited(1), 3)).unwrap_err();
        assert!(matches!(refused, Error::Broken { missing: 2, .. }), "{refused}");
    }
    assert_eq!((loaded.version(), loaded.state().balances["gold"]), (1, 1));
}

#[test]
fn a_snapshot_that_cannot_be_read_is_none() {
    let good = Snapshot { sequence: 4, event: ID, state: serde_json::to_value(Purse::default()).unwrap() };
    assert_eq!(Loaded::<Purse>::thaw(ID, good.clone()).unwrap().version(), 4);
    assert!(Loaded::<Purse>::thaw(ID, Snapshot { state: json!({ "balances": 3 }), ..good }).is_none());
}

#[test]
fn a_changed_fold_has_its_snapshot_at_the_next_write() {
    // Loaded without a snapshot of its own, however long the history is.
    let mut loaded = Loaded::<Purse>::new(ID);
    (1..=250).for_each(|number| loaded.take(stored(number, &credited(1), 3)).unwrap());
    assert_eq!(loaded.advance(ID, &credited(1), 100).map(|taken| taken.sequence), Some(251));
    let next = (252..=400).find_map(|_| loaded.advance(ID, &credited(1), 100)).unwrap();
    assert_eq!(next.sequence, 351);
}

#[test]
fn what_is_no_event_of_the_aggregate_or_too_large_is_not_written() {
    #[derive(Debug)]
    struct Stray(usize);
    impl Event for Stray {
        const TYPES: &'static [EventType] = &[EventType::new("stray.large")];
        fn event_type(&self) -> &'static str {
            if self.0 == 0 { "stray.unknown" } else { "stray.large" }
        }
        fn encode(&self) -> Result<Value, BoxError> {
            if self.0 == 1 { Err("no words".into()) } else { Ok(Value::String("x".repeat(self.0))) }
        }
        fn decode(_: &str, _: Value) -> Result<Self, BoxError> {
            Ok(Self(0))
        }
    }
    let write = |size| Written::of(&Stray(size), ID);
    assert!(matches!(write(0), Err(Error::Unwritable { event_type: "stray.unknown", .. })));
    assert!(matches!(write(1), Err(Error::Unwritable { event_type: "stray.large", .. })));
    assert!(write(MAX_PAYLOAD_BYTES - 2).is_ok());
    assert!(matches!(write(MAX_PAYLOAD_BYTES - 1), Err(Error::TooLarge(size)) if size == MAX_PAYLOAD_BYTES + 1));
}
