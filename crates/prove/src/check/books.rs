//! The books, added up again from their entries.

use std::collections::HashMap;

use anyhow::Result;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use super::{Findings, Kind, State};

/// Escrow, as the contract numbers it.
const ESCROW: i16 = 5;

pub(super) fn look(state: &State, findings: &mut Findings) {
    let (mut currencies, mut postings) = (HashMap::<i16, i64>::new(), HashMap::<(Uuid, i16), i64>::new());
    let mut accounts = HashMap::<(Uuid, i16), (i64, i64)>::new();
    for entry in &state.entries {
        *currencies.entry(entry.currency).or_default() += entry.delta;
        *postings.entry((entry.posting, entry.currency)).or_default() += entry.delta;
        let (balance, seq) = accounts.entry((entry.owner, entry.currency)).or_default();
        *balance += entry.delta;
        *seq += 1;
        let of =
            |what: &str| format!("account {} of currency {}: entry {} {what}", entry.owner, entry.currency, entry.seq);
        if entry.seq != *seq {
            findings.add(Kind::Books, of("is not the next"));
            *seq = entry.seq;
        }
        if entry.balance_after != *balance {
            findings.add(Kind::Books, of("does not add up"));
        }
    }
    for (currency, sum) in currencies.iter().filter(|(_, sum)| **sum != 0) {
        findings.add(Kind::Books, format!("currency {currency}: all entries add up to {sum}"));
    }
    for ((posting, currency), sum) in postings.iter().filter(|(_, sum)| **sum != 0) {
        findings.add(Kind::Books, format!("posting {posting}: its entries of currency {currency} add up to {sum}"));
    }
    for account in &state.accounts {
        let name = format!("account {} of currency {}", account.owner, account.currency);
        let sum = accounts.get(&(account.owner, account.currency)).map_or(0, |(balance, _)| *balance);
        if sum != account.balance {
            findings.add(Kind::Books, format!("{name} holds {} and its entries add up to {sum}", account.balance));
        }
        if account.house.is_none() && account.balance < 0 {
            findings.add(Kind::Books, format!("{name} holds {}", account.balance));
        }
    }
    for row in &state.postings {
        let entries = row.answer.legs.iter().filter_map(|leg| i16::try_from(leg.currency).ok());
        if entries.into_iter().any(|currency| !postings.contains_key(&(row.id, currency))) {
            findings.add(Kind::Books, format!("posting {} has no entries", row.id));
        }
    }
    escrow(state, findings);
}

/// What is in escrow is what is held.
fn escrow(state: &State, findings: &mut Findings) {
    for currency in [1, 2] {
        let held: i64 = state
            .holds
            .iter()
            .filter(|hold| hold.currency == currency && hold.state == "held")
            .map(|hold| hold.amount)
            .sum();
        let there: i64 = state
            .accounts
            .iter()
            .filter(|account| account.currency == currency && account.house == Some(ESCROW))
            .map(|account| account.balance)
            .sum();
        if held != there {
            findings.add(Kind::Books, format!("currency {currency}: {held} is held and {there} is in escrow"));
        }
    }
}

/// The chain of every account's entries, recomputed as `coreloop verify ledger` does.
pub(super) async fn chains(url: &str, findings: &mut Findings) -> Result<()> {
    let db = PgPoolOptions::new().max_connections(2).connect(url).await?;
    let report = coreloop_wallet::integrity::verify(&db).await?;
    db.close().await;
    for finding in report.findings {
        findings.add(Kind::Books, format!("coreloop verify ledger: {finding}"));
    }
    Ok(())
}
