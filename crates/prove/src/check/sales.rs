//! Purchases: each that was paid for has what it gives, once; each that came to nothing costs nothing.

use std::collections::HashSet;

use super::{Findings, Kind, State, market};
use crate::{
    check::market::Sale,
    journal::{Act, Deed},
};

/// GOLD, a conversion, and the states of purchases, as the contract numbers them.
const GOLD: i32 = 1;
const CONVERSION: i16 = 1;
const CONFIRMED: i16 = 3;
const VOIDED: i16 = 4;
const FAILED: i16 = 5;

impl Sale {
    /// Its payment was taken back after it was confirmed.
    pub(super) fn charged_back(&self) -> bool {
        self.state == VOIDED && self.reason == "CHARGED_BACK"
    }
}

pub(super) fn look(state: &State, journal: &[Deed], findings: &mut Findings) {
    let mut moved = market::moved(state, "service:shop", GOLD);
    for sale in &state.market.sales {
        let of = |what: String| format!("purchase {} of {} by {}: {what}", sale.id, sale.product_id, sale.user_id);
        let (sum, times) = moved.remove(&(sale.id, sale.user_id)).unwrap_or_default();
        let (expected, most) = due(sale);
        if sum != expected || times > most || (times == 0 && expected != 0) {
            let kind = if sum == 0 && sale.state == CONFIRMED { Kind::Lost } else { Kind::Doubled };
            findings.add(kind, of(format!("state {}, moved {sum} in {times} postings, not {expected}", sale.state)));
        }
        let effects = i64::from(sale.state == CONFIRMED && sale.category != CONVERSION);
        if sale.effects != effects {
            let kind = if sale.effects < effects { Kind::Lost } else { Kind::Doubled };
            findings.add(kind, of(format!("state {} and {} effects", sale.state, sale.effects)));
        }
        if sale.events != told(sale) {
            findings.add(Kind::Doubled, of(format!("state {}, told of by {:?}", sale.state, sale.events)));
        }
        paid(state, sale, findings);
    }
    for ((reference, user), (sum, _)) in moved {
        findings.add(Kind::Doubled, format!("user {user} had {sum} GOLD moved for {reference}, which is no purchase"));
    }
    taken_back(state, journal, findings);
}

/// What the payment service was heard to take back is void, and nothing else is for that.
fn taken_back(state: &State, journal: &[Deed], findings: &mut Findings) {
    let sales = state.market.sales.iter().filter(|sale| sale.charged_back());
    let mut void: HashSet<String> = sales.map(|sale| sale.id.to_string()).collect();
    for (number, deed) in journal.iter().enumerate() {
        let Act::ChargeBack { purchase } = &deed.act else { continue };
        let there = void.remove(purchase);
        if deed.taken() && !there {
            findings.of_deed(Kind::Lost, number, "was heard, and the purchase is not void for it");
        }
        if deed.open() {
            findings.of_deed(Kind::Open, number, "nobody can tell what became of it");
        }
    }
    for purchase in void {
        findings.add(Kind::Doubled, format!("purchase {purchase} is charged back, and nobody did that"));
    }
}

/// What is to have moved, and in how many postings at most.
fn due(sale: &Sale) -> (i64, usize) {
    match (sale.category == CONVERSION, sale.state) {
        (true, CONFIRMED) => (sale.gold, 1),
        // Given before it was decided, taken back: what could not be is written down.
        (true, VOIDED | FAILED) => (sale.owed, 2),
        (false, CONFIRMED) => (-sale.price, 1),
        _ => (0, 0),
    }
}

fn told(sale: &Sale) -> Vec<&'static str> {
    match sale.state {
        CONFIRMED if sale.category == CONVERSION => {
            vec!["purchase_completed", "purchase_requested", "settlement_confirmed"]
        }
        CONFIRMED => vec!["purchase_completed", "purchase_requested"],
        VOIDED if sale.charged_back() => {
            vec!["purchase_completed", "purchase_requested", "settlement_confirmed", "settlement_voided"]
        }
        VOIDED => vec!["purchase_requested", "settlement_voided"],
        FAILED => vec!["purchase_failed", "purchase_requested"],
        _ => vec!["purchase_requested"],
    }
}

/// The payment service says the same.
fn paid(state: &State, sale: &Sale, findings: &mut Findings) {
    let said = state.market.payments.get(&sale.payment_id).map_or("", String::as_str);
    let confirmed = sale.category == CONVERSION && sale.state == CONFIRMED;
    if confirmed != (said == "confirmed") {
        let what = format!("purchase {} is in state {} and its payment is `{said}`", sale.id, sale.state);
        findings.add(if confirmed { Kind::Doubled } else { Kind::Lost }, what);
    }
}
