//! A refresh token is good once, however many use it at once, round after round (A3).

use std::collections::HashSet;

use coreloop_testkit::{Persona, Rounds, run, seed};
use jiff::SignedDuration;
use serde_json::json;

use super::{all_post, racers, replicas};

#[test]
fn of_a_hundred_parallel_refreshes_comes_one_lineage_round_after_round() {
    run(async {
        let seed = seed("A3");
        // A hundred are served within the grace, however slow the machine is.
        let mesh = replicas(2).setting("auth.refresh_grace_secs", 60_i64).start().await;
        let first = mesh.persona("alice").await;
        let racers = racers(&mesh, 100, 2, seed);
        let (mut alice, mut rounds) = (first.clone(), Rounds::of(200));
        for round in &mut rounds {
            let body = json!({"refresh_token": alice.refresh_token, "device_id": alice.visitor.device_id});
            let answers = all_post(&racers, "/api/v1/auth/token/refresh", |_| body.clone()).await;
            let pairs: HashSet<(String, String)> = answers
                .iter()
                .map(|answer| answer.expect(200))
                .map(|pair| (pair["access_token"].to_string(), pair["refresh_token"].to_string()))
                .collect();
            assert_eq!(pairs.len(), 1, "round {round}: every reply carries the same pair");
            alice = Persona::signed_in(alice.visitor.clone(), &answers[0].json());
        }
        let of_alice = |what: &str| format!("select {what} from auth.sessions where user_id = '{}'", alice.user_id);
        assert_eq!(mesh.db.count(&of_alice("count(*)")).await, 1, "one session");
        let traded = mesh.db.count(&of_alice("generation::bigint")).await;
        assert_eq!(usize::try_from(traded).unwrap(), rounds.begun(), "traded once a round");
        assert!(alice.is_signed_in().await);

        mesh.clock.advance(SignedDuration::from_secs(61));
        first.try_refresh().await.refused(401, "REFRESH_TOKEN_REUSED");
        alice.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        assert_eq!(alice.try_refresh().await.status, 401, "the family is burnt");
    });
}
