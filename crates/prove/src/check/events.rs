//! The witness beside the entries: each entry of a user has had its effect once, in order, and nothing else has.

use std::collections::{HashMap, HashSet};

use super::{Findings, Kind, State};

pub(super) fn look(state: &State, findings: &mut Findings) {
    let houses: HashSet<_> =
        state.accounts.iter().filter(|account| account.house.is_some()).map(|account| account.owner).collect();
    let mut told = HashMap::<(String, i16, i64), (i64, i64, u32)>::new();
    let (mut numbers, mut sequences) = (HashMap::<&str, i64>::new(), HashMap::<(&str, i16), i64>::new());
    for effect in &state.effects {
        let place = (effect.key.clone(), effect.currency, effect.sequence);
        let (.., times) = told.entry(place).or_insert((effect.delta, effect.balance_after, 0));
        *times += 1;
        let again = *times > 1;
        let of = |what: &str| {
            format!(
                "user {}: event {} (entry {} of currency {}) {what}",
                effect.key, effect.event, effect.sequence, effect.currency
            )
        };
        if again {
            findings.add(Kind::Doubled, of("had a second effect"));
            continue;
        }
        let number = numbers.entry(&effect.key).or_default();
        let sequence = sequences.entry((&effect.key, effect.currency)).or_default();
        if effect.number < *number || effect.sequence < *sequence {
            findings.add(Kind::Order, of("had its effect after one that was written later"));
        }
        *number = effect.number.max(*number);
        *sequence = effect.sequence.max(*sequence);
    }
    for entry in state.entries.iter().filter(|entry| !houses.contains(&entry.owner)) {
        let owner = entry.owner.to_string();
        let of = |what: &str| format!("user {owner}: entry {} of currency {} {what}", entry.seq, entry.currency);
        match told.remove(&(owner.clone(), entry.currency, entry.seq)) {
            None => findings.add(Kind::Untold, of("had no effect")),
            Some((delta, balance_after, _)) if (delta, balance_after) != (entry.delta, entry.balance_after) => {
                findings.add(Kind::Doubled, of("was told as something else"));
            }
            Some(_) => {}
        }
    }
    for (user, currency, sequence) in told.keys() {
        findings.add(
            Kind::Doubled,
            format!("user {user}: entry {sequence} of currency {currency} had an effect and is not there"),
        );
    }
}
