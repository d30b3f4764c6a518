#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A sequence, its transactions and their snapshots, as Postgres keeps them.
#[derive(Debug, Default)]
struct Table {
    next_number: i64,
    next_transaction: i64,
    open: Vec<(i64, Vec<i64>)>,
    committed: BTreeSet<i64>,
}

impl Table {
    fn begin(&mut self) {
        self.next_transaction += 1;
        self.open.push((self.next_transaction, Vec::new()));
    }

    fn insert(&mut self, which: usize) {
        let count = self.open.len();
        if let Some((_, rows)) = self.open.get_mut(which % count.max(1)) {
            self.next_number += 1;
            rows.push(self.next_number);
        }
    }

    fn end(&mut self, which: usize, commit: bool) {
        if !self.open.is_empty() {
            let (_, rows) = self.open.remove(which % self.open.len());
            if commit {
                self.committed.extend(rows);
            }
        }
    }

    fn oldest(&self) -> i64 {
        self.open.iter().map(|(number, _)| *number).min().unwrap_or(self.next_transaction + 1)
    }

    fn look(&self, cursor: &Cursor, most: usize) -> Vec<i64> {
        let wanted = |number: &i64| {
            *number > cursor.read_to() || cursor.gaps().iter().any(|gap| gap.from <= *number && *number <= gap.to)
        };
        self.committed.iter().copied().filter(wanted).take(most).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Begin,
    Insert(usize),
    Commit(usize),
    Rollback(usize),
    Look { mark: bool, most: usize },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Begin),
        6 => any::<usize>().prop_map(Step::Insert),
        3 => any::<usize>().prop_map(Step::Commit),
        1 => any::<usize>().prop_map(Step::Rollback),
        4 => (any::<bool>(), 1_usize..6).prop_map(|(mark, most)| Step::Look { mark, most }),
        1 => Just(Step::Restart),
    ]
}

fn look(table: &mut Table, cursor: &mut Cursor, seen: &mut Vec<i64>, most: usize, mark: bool) -> usize {
    let rows = table.look(cursor, most);
    cursor.advance(&rows, table.oldest(), rows.len() == most);
    seen.extend(&rows);
    if mark {
        table.next_transaction += 1;
        cursor.bound(table.next_transaction);
    }
    rows.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_committed_row_is_seen_once_and_no_other(steps in prop::collection::vec(step(), 1..120)) {
        let (mut table, mut cursor, mut seen) = (Table::default(), Cursor::default(), Vec::new());
        for step in steps {
            match step {
                Step::Begin => table.begin(),
                Step::Insert(which) => table.insert(which),
                Step::Commit(which) => table.end(which, true),
                Step::Rollback(which) => table.end(which, false),
                Step::Look { mark, most } => { look(&mut table, &mut cursor, &mut seen, most, mark); }
                Step::Restart => cursor = Cursor::new(cursor.read_to(), cursor.gaps()),
            }
            let floor = cursor.floor();
            prop_assert!(table.open.iter().flat_map(|(_, rows)| rows).all(|number| *number > floor), "an open row is below the floor");
        }
        while !table.open.is_empty() {
            table.end(0, true);
        }
        while look(&mut table, &mut cursor, &mut seen, 3, true) > 0 {}
        let once: BTreeSet<i64> = seen.iter().copied().collect();
        prop_assert_eq!(once.len(), seen.len(), "seen twice");
        prop_assert_eq!(&once, &table.committed);
        look(&mut table, &mut cursor, &mut seen, 3, true);
        look(&mut table, &mut cursor, &mut seen, 3, true);
        prop_assert!(cursor.gaps().is_empty(), "gaps stay: {:?}", cursor);
    }
}

#[test]
fn an_open_transaction_holds_nobody_up_and_is_not_forgotten() {
    let mut cursor = Cursor::default();
    cursor.advance(&[1, 2, 5], 7, false);
    cursor.bound(20);
    assert_eq!((cursor.read_to(), cursor.floor()), (5, 2));
    assert_eq!(cursor.gaps(), [Range { from: 3, to: 4 }]);
    // Transaction 7 still runs: whatever it holds may come.
    cursor.advance(&[4, 6], 7, false);
    assert_eq!((cursor.floor(), cursor.gaps()), (2, vec![Range { from: 3, to: 3 }]));
    // Nothing below 20 runs any more.
    cursor.advance(&[], 20, false);
    assert_eq!((cursor.floor(), cursor.gaps()), (6, vec![]));
}
