//! Every difference there is, and who is right: `differences.txt`, read.

use std::collections::BTreeSet;

use super::{bodies::body, case::Case};

/// Requests of one reason.
pub(super) struct Explained {
    pub(super) why: &'static str,
    pub(super) cases: Vec<String>,
}

/// Requests on which Envoy 1.40 ends: a null as the value of a map. ProtoJSON admits no null there, and we refuse it.
pub(super) fn ends_envoy(case: &Case) -> bool {
    ["labels", "waits"].iter().any(|map| body(map, r#"{"a":null}"#).name() == case.name())
}

/// The list.
pub(super) fn all() -> Vec<Explained> {
    let mut all: Vec<Explained> = Vec::new();
    // The first paragraph says how to read the rest.
    for line in include_str!("differences.txt").lines().skip_while(|line| !line.is_empty()) {
        match line.strip_prefix("  ") {
            Some(case) => all.last_mut().expect("a reason comes first").cases.push(case.to_owned()),
            None if line.is_empty() => {}
            None => all.push(Explained { why: line, cases: Vec::new() }),
        }
    }
    all
}

/// Every request that is in it.
pub(super) fn names() -> BTreeSet<String> {
    all().into_iter().flat_map(|explained| explained.cases).collect()
}
