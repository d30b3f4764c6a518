//! The JSON edge beside Envoy's own transcoder (E1): the same request to both, in front of the same service.
//!
//! Compared are the class of the status, the message that reached the service (read by an implementation of neither) and
//! the answer. **A difference is either explained or a failure**: [`explained`] lists every one with the rule that says
//! who is right, and an explanation that nothing needs any more fails too. What is not explained is the same for the whole
//! table and for as many random requests, whose seed is printed.

mod bodies;
mod case;
mod explained;
mod lines;
mod parameters;
mod random;
mod stage;

use std::collections::BTreeMap;

use coreloop_testkit::{deep, run, seed};
use futures::StreamExt as _;

use self::{
    case::{Case, Outcome},
    stage::Stage,
};

/// Requests under way at a time.
const ABREAST: usize = 16;

/// What differs, by the name of the request.
async fn differences(stage: &Stage, cases: Vec<Case>) -> BTreeMap<String, String> {
    let asked = cases.into_iter().map(async |case| {
        let (ours, theirs) = stage.ask(&case).await;
        (case.name(), ours, theirs)
    });
    let answers: Vec<(String, Outcome, Outcome)> =
        futures::stream::iter(asked).buffer_unordered(ABREAST).collect().await;
    answers
        .into_iter()
        .filter(|(_, ours, theirs)| !ours.agrees(theirs))
        .map(|(name, ours, theirs)| (name, format!("ours {ours}\n    envoy {theirs}")))
        .collect()
}

#[test]
fn every_difference_from_envoys_transcoder_is_explained() {
    run(async {
        let stage = Stage::set().await;
        let cases: Vec<Case> = lines::all().chain(bodies::all()).chain(parameters::all()).collect();
        let count = cases.len();
        assert!(count > 1_000, "the table is not read: {count}");
        let (deadly, cases): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(explained::ends_envoy);
        for case in &deadly {
            assert_eq!(stage.ask_us(case).await.status, 400, "{}", case.name());
        }
        let mut found = differences(&stage, cases).await;
        let mut unused = Vec::new();
        for explanation in explained::all() {
            for case in explanation.cases {
                if found.remove(&case).is_none() {
                    unused.push(format!("{case}\n    {}", explanation.why));
                }
            }
        }
        let unexplained: Vec<String> = found.iter().map(|(name, how)| format!("{name}\n    {how}")).collect();
        assert!(
            unexplained.is_empty() && unused.is_empty(),
            "of {count} requests\nunexplained, {}:\n{}\nexplained, but there is no difference, {}:\n{}",
            unexplained.len(),
            unexplained.join("\n"),
            unused.len(),
            unused.join("\n")
        );
    });
}

#[test]
fn random_requests_are_read_alike() {
    let seed = seed("random_requests_are_read_alike");
    run(async {
        let stage = Stage::set().await;
        let cases = random::some(seed, if deep() { 10_000 } else { 3_000 });
        let found = differences(&stage, cases).await;
        let text: Vec<String> = found.iter().take(20).map(|(name, how)| format!("{name}\n    {how}")).collect();
        assert!(found.is_empty(), "seed {seed}: {} differ, as\n{}", found.len(), text.join("\n"));
    });
}
