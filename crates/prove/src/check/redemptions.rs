//! Redemptions: each is issued once, or gave its points back once.

use std::collections::HashSet;

use uuid::Uuid;

use super::{Findings, Kind, State, market};

/// Points, and the states of redemptions, as the contract numbers them.
const POINT: i32 = 2;
const ISSUED: i16 = 3;
const FAILED: i16 = 5;
const CANCELLED: i16 = 6;

pub(super) fn look(state: &State, findings: &mut Findings) {
    let mut moved = market::moved(state, "service:rewards", POINT);
    let postings: HashSet<Uuid> = state.postings.iter().map(|posting| posting.id).collect();
    for row in &state.market.redemptions {
        let of = |what: String| format!("redemption {} of {} by {}: {what}", row.id, row.sku, row.user_id);
        let (sum, times) = moved.remove(&(row.id, row.user_id)).unwrap_or_default();
        let fits = match row.state {
            ISSUED => sum == -row.price && times == 1,
            FAILED => sum == 0 && times == 2,
            CANCELLED => sum == 0 && (times == 0 || times == 2),
            _ => true,
        };
        if !fits {
            findings.add(Kind::Doubled, of(format!("state {}, moved {sum} in {times} postings", row.state)));
        }
        if row.spent.iter().chain(&row.returned).any(|id| !postings.contains(id)) {
            findings.add(Kind::Lost, of("names a posting that is not there".to_owned()));
        }
        let issued = state.market.orders.get(&row.id.to_string()).is_some_and(|order| order == "issued");
        if issued != (row.state == ISSUED) {
            findings.add(Kind::Lost, of(format!("state {}, and the vendor has {}", row.state, said(issued))));
        }
        let events: &[&str] = match row.state {
            ISSUED => &["redemption_issued", "redemption_requested"],
            FAILED | CANCELLED => &["redemption_failed", "redemption_requested"],
            _ => &["redemption_requested"],
        };
        if row.events != events {
            findings.add(Kind::Doubled, of(format!("state {}, told of by {:?}", row.state, row.events)));
        }
        // Requested, paid, and the end; what is returned has a step in between.
        let steps = match row.state {
            FAILED => 4,
            ISSUED => 3,
            _ => 2,
        };
        if row.steps != steps {
            findings.add(Kind::Lost, of(format!("state {} and {} lines of audit", row.state, row.steps)));
        }
    }
    for ((reference, user), (sum, _)) in moved {
        findings
            .add(Kind::Doubled, format!("user {user} had {sum} points moved for {reference}, which is no redemption"));
    }
}

fn said(issued: bool) -> &'static str {
    if issued { "issued it" } else { "not issued it" }
}
