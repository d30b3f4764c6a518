//! The loop around every check: inputs, time, memory, and what is said of a failure.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

use coreloop_testkit::{deep, memory::peak_kib, seed};

use crate::mutate::{Random, mutate};

/// Inputs of a check that takes about ten microseconds; in the deep form every check has so many.
pub const MILLIONS: u64 = 2_000_000;
/// Inputs of one that takes ten times as long: a signature, an answer in full.
pub const FEWER: u64 = 400_000;
const DEEP: u64 = 50_000_000;
/// No input may take longer, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most memory that the process may ever have used, in KiB.
const MEMORY_KIB: u64 = 1_500_000;
/// The corpus grows by what is accepted, up to so many.
const MOST: usize = 1_024;

/// Feeds changed inputs to `check`, which says whether it accepted one and panics when it did wrong.
pub fn fuzz(name: &str, corpus: Vec<Vec<u8>>, words: &[&[u8]], check: impl FnMut(&[u8], &mut Random) -> bool) {
    structured((name, MILLIONS), corpus, |input, other, random| mutate(input, other, words, random), check);
}

/// As [`fuzz`], with changes of the caller's own.
pub fn structured(
    (name, short): (&str, u64),
    mut corpus: Vec<Vec<u8>>,
    mut change: impl FnMut(&mut Vec<u8>, &[u8], &mut Random),
    mut check: impl FnMut(&[u8], &mut Random) -> bool,
) {
    let seed = seed(name);
    let mut random = Random::new(seed);
    let (began, mut slowest, mut accepted) = (Instant::now(), Duration::ZERO, 0_u64);
    let count = if deep() { DEEP } else { short };
    let (given, mut input) = (corpus.len(), Vec::new());
    // What is accepted whatever it holds would only grow.
    let keep = 2 * corpus.iter().map(Vec::len).max().unwrap_or_default();
    for round in 0..count {
        let (one, other) = (random.below(corpus.len()), random.below(corpus.len()));
        input.clear();
        input.extend_from_slice(&corpus[one]);
        // The corpus itself comes first, unchanged.
        match usize::try_from(round).ok().and_then(|round| corpus.get(round)).filter(|_| round < given as u64) {
            Some(unchanged) => input.clone_from(unchanged),
            None => change(&mut input, &corpus[other], &mut random),
        }
        let begin = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&input, &mut random)));
        let took = begin.elapsed();
        slowest = slowest.max(took);
        let shown = || format!("{name}: seed {seed}, input {round}: b\"{}\"", input.escape_ascii());
        match outcome {
            Ok(true) => {
                accepted += 1;
                if corpus.len() < MOST && input.len() <= keep {
                    corpus.push(input.clone());
                } else if input.len() <= keep && random.one_in(8) && given < corpus.len() {
                    let at = given + random.below(corpus.len() - given);
                    corpus[at].clone_from(&input);
                }
            }
            Ok(false) => {}
            Err(panic) => {
                println!("{}", shown());
                resume_unwind(panic);
            }
        }
        assert!(took < PATIENCE, "{} took {took:?}", shown());
    }
    let peak = peak_kib();
    println!(
        "{name}: {count} inputs, {accepted} accepted, in {:.1?}; slowest {slowest:.1?}; {peak} KiB at most",
        began.elapsed()
    );
    assert!(accepted > count / 1_000, "{name}: hardly anything was accepted, so hardly anything was tried: {accepted}");
    assert!(peak < MEMORY_KIB, "{name}: the process used {peak} KiB");
}
