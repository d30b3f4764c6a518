//! The journal beside the postings: acknowledged is there once, refused is not there, what is there was asked for.

use std::collections::{HashMap, HashSet};

use coreloop_wallet_api::v1::{House, Posting, account::Owner};

use super::{Findings, Kind, State, state::Row};
use crate::{
    ask::CALLERS,
    journal::{Act, Deed, Reply, Said},
};

pub(super) fn look(state: &State, journal: &[Deed], findings: &mut Findings) {
    let mut there = HashMap::<(&str, &str), Vec<&Row>>::new();
    for row in &state.postings {
        if let Some(caller) = row.caller.strip_prefix("service:").filter(|caller| CALLERS.contains(caller)) {
            there.entry((caller, &row.key)).or_default().push(row);
        }
    }
    let mut known = HashSet::new();
    for (number, deed) in journal.iter().enumerate().filter(|(_, deed)| deed.act.of_wallet()) {
        if deed.forged {
            if deed.done().is_some() {
                findings.of_deed(Kind::Doubled, number, "a key was taken for another request than it named");
            }
            continue;
        }
        known.insert((deed.caller, deed.key.as_str()));
        let rows = there.get(&(deed.caller, deed.key.as_str())).map(Vec::as_slice).unwrap_or_default();
        one(number, deed, rows, findings);
    }
    for (name, rows) in &there {
        if !known.contains(name) {
            findings
                .add(Kind::Doubled, format!("posting {} ({} {}) was asked for by nobody", rows[0].id, name.0, name.1));
        }
    }
    once(state, findings);
    amounts(state, journal, findings);
}

/// What ends a hold ends all of it, and takes what was asked; what reverses a posting gives back what it took.
fn amounts(state: &State, journal: &[Deed], findings: &mut Findings) {
    let holds: HashMap<String, i64> = state.holds.iter().map(|hold| (hold.id.to_string(), hold.amount)).collect();
    let postings: HashMap<String, &Posting> =
        state.postings.iter().map(|row| (row.id.to_string(), &row.answer)).collect();
    for (number, deed) in journal.iter().enumerate().filter(|(_, deed)| !deed.forged) {
        let Some(answer) = deed.done() else { continue };
        let (took, let_go) = houses(answer);
        let fits = match &deed.act {
            Act::Capture { hold, amount } => {
                let held = holds.get(hold).copied().unwrap_or_default();
                let_go == -held && took == if *amount == 0 { held } else { *amount }
            }
            Act::Release { hold } => let_go == -holds.get(hold).copied().unwrap_or_default(),
            Act::Reverse { posting, .. } => postings.get(posting).is_some_and(|original| took == -houses(original).0),
            _ => true,
        };
        if !fits {
            findings.of_deed(Kind::Books, number, format!("moved {took} to houses and {let_go} to escrow"));
        }
    }
}

/// What a posting moved to houses but for escrow, and to escrow.
fn houses(posting: &Posting) -> (i64, i64) {
    let (mut houses, mut escrow) = (0, 0);
    for leg in &posting.legs {
        match leg.account.as_ref().and_then(|account| account.owner.as_ref()) {
            Some(Owner::House(house)) if *house == i32::from(House::Escrow) => escrow += leg.delta,
            Some(Owner::House(_)) => houses += leg.delta,
            _ => {}
        }
    }
    (houses, escrow)
}

fn one(number: usize, deed: &Deed, rows: &[&Row], findings: &mut Findings) {
    if rows.len() > 1 {
        findings.of_deed(Kind::Doubled, number, format!("is there {} times", rows.len()));
    }
    let used = |reply: &Reply| matches!(&reply.said, Said::Refused(reason) if reason == "IDEMPOTENCY_KEY_REUSED");
    if deed.replies.iter().any(used) {
        findings.of_deed(Kind::Doubled, number, "was refused for a key that its caller had not used");
    }
    let first_done =
        deed.replies.iter().filter(|reply| matches!(reply.said, Said::Done(_))).map(|reply| reply.heard).min();
    let unsaid =
        |reply: &Reply| matches!(reply.said, Said::Refused(_)) && first_done.is_some_and(|heard| reply.asked > heard);
    if deed.replies.iter().any(unsaid) {
        findings.of_deed(Kind::Doubled, number, "was done, and refused when it was asked again");
    }
    // What a request says wrong is no answer of the books, and is not kept.
    let decided = |reply: &&Reply| matches!(&reply.said, Said::Refused(reason) if reason != "VALIDATION_FAILED");
    let first_no = deed.replies.iter().filter(decided).map(|reply| reply.heard).min();
    let undone =
        |reply: &Reply| matches!(reply.said, Said::Done(_)) && first_no.is_some_and(|heard| reply.asked > heard);
    if deed.replies.iter().any(undone) {
        findings.of_deed(Kind::Doubled, number, "was refused, and done when it was asked again");
    }
    let answers: Vec<&Posting> = deed
        .replies
        .iter()
        .filter_map(|reply| match &reply.said {
            Said::Done(posting) => Some(&**posting),
            _ => None,
        })
        .collect();
    if answers.windows(2).any(|two| two[0] != two[1]) {
        findings.of_deed(Kind::Doubled, number, "the same key was answered in two ways");
    }
    match (answers.first(), rows.first()) {
        (Some(_), None) => findings.of_deed(Kind::Lost, number, "was acknowledged and is not there"),
        (Some(answer), Some(row)) if **answer != row.answer => {
            findings.of_deed(Kind::Lost, number, format!("is there as something else: posting {}", row.id));
        }
        (Some(answer), Some(_)) if !fits(&deed.act, answer) => {
            findings.of_deed(Kind::Lost, number, "was acknowledged with what it did not ask for");
        }
        (None, Some(row)) if !deed.doubted() => {
            findings.of_deed(Kind::Doubled, number, format!("was refused and is there: posting {}", row.id));
        }
        (None, Some(_)) if !deed.open() => {
            findings.of_deed(Kind::Doubled, number, "is there, and its last word was a refusal");
        }
        _ => {}
    }
    if deed.open() {
        findings.of_deed(Kind::Open, number, "nobody can tell what became of it");
    }
}

/// An answer says what was asked.
fn fits(act: &Act, answer: &Posting) -> bool {
    let of = |user: &str, wanted: i32| -> i64 {
        let mine = answer.legs.iter().filter(|leg| {
            let owner = leg.account.as_ref().and_then(|account| account.owner.as_ref());
            leg.currency == wanted && matches!(owner, Some(Owner::UserId(id)) if id == user)
        });
        mine.map(|leg| leg.delta).sum()
    };
    match act {
        Act::Grant { user, currency, amount, .. } | Act::Batch { user, currency, amount } => {
            of(user, *currency) == *amount
        }
        Act::Spend { user, currency, amount } | Act::Hold { user, currency, amount, .. } => {
            of(user, *currency) == -*amount
        }
        Act::Transfer { from, to, currency, amount } => of(from, *currency) == -*amount && of(to, *currency) == *amount,
        Act::Capture { hold, .. } | Act::Release { hold } => answer.hold_id == *hold,
        Act::Reverse { posting, .. } => answer.reverses == *posting,
        Act::Buy { .. } | Act::Redeem { .. } | Act::ChargeBack { .. } | Act::Photo { .. } => true,
    }
}

/// What happens once at most: the end of a hold, a reversal.
fn once(state: &State, findings: &mut Findings) {
    let holds: HashMap<String, i64> = state.holds.iter().map(|hold| (hold.id.to_string(), hold.expires_at)).collect();
    let (mut ended, mut reversed) = (HashMap::<&str, u32>::new(), HashMap::new());
    // As the contract numbers them: a capture, a release.
    for row in state.postings.iter().filter(|row| [5, 6].contains(&row.kind)) {
        *ended.entry(row.answer.hold_id.as_str()).or_default() += 1;
        let over = holds.get(&row.answer.hold_id).is_some_and(|expires_at| row.posted_at >= *expires_at);
        if row.kind == 5 && over {
            findings.add(Kind::Books, format!("posting {} captures a hold whose time was over", row.id));
        }
    }
    // What the wallet does by itself it does for a reason.
    for row in state.postings.iter().filter(|row| !row.caller.starts_with("service:")) {
        if holds.get(&row.answer.hold_id).is_some_and(|expires_at| row.posted_at < *expires_at) {
            findings.add(Kind::Books, format!("posting {} ends a hold before its time", row.id));
        }
    }
    for (hold, times) in ended.iter().filter(|(_, times)| **times > 1) {
        findings.add(Kind::Doubled, format!("hold {hold} ended {times} times"));
    }
    for row in &state.postings {
        if let Some(original) = row.reverses
            && let Some(other) = reversed.insert(original, row.id)
        {
            findings.add(Kind::Doubled, format!("posting {original} is reversed by {other} and {}", row.id));
        }
    }
}
