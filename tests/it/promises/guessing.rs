//! Guessing is bounded over replicas, account after account (A5).

use coreloop_testkit::{Answer, PASSWORD, Rounds, run, seed};
use jiff::SignedDuration;
use serde_json::json;

use super::{all_post, racers, replicas};

/// The guesses that were looked at.
fn evaluated(answers: &[Answer]) -> usize {
    let looked_at = |answer: &&Answer| match answer.reason().as_str() {
        "INVALID_CREDENTIALS" => true,
        "ACCOUNT_LOCKED" => false,
        _ => panic!("{} {}", answer.status, answer.text()),
    };
    answers.iter().filter(looked_at).count()
}

#[test]
fn of_two_hundred_parallel_guesses_on_three_replicas_five_are_evaluated() {
    run(async {
        let seed = seed("A5");
        let mesh = replicas(3).start().await;
        let racers = racers(&mesh, 200, 3, seed);
        for round in Rounds::of(50) {
            let alice = mesh.persona("alice").await.visitor;
            let guess = |wrong: &str| json!({"email": alice.email, "password": format!("guess {wrong} {round}")});
            let seen = evaluated(&all_post(&racers, "/api/v1/auth/login", |racer| guess(&racer.device_id)).await);
            assert!((1..=5).contains(&seen), "round {round}: {seen} guesses were evaluated");
            assert_eq!(evaluated(&all_post(&racers, "/api/v1/auth/login", |_| guess("again")).await), 5 - seen);
            alice.elsewhere().try_login(PASSWORD).await.refused(429, "ACCOUNT_LOCKED");
            mesh.clock.advance(SignedDuration::from_secs(601));
            assert_eq!(alice.elsewhere().try_login(PASSWORD).await.status, 200, "round {round}: the lock ends");
        }
    });
}
