//! Guessing is bounded across replicas, and lockout is no weapon (A5).

use coreloop_testkit::{PASSWORD, TestMesh, Visitor, run};
use jiff::SignedDuration;
use serde_json::json;

async fn evaluated(guesses: Vec<(Visitor, String)>) -> usize {
    let tries = guesses.into_iter().map(|(guesser, password)| async move {
        let answer = guesser.try_login(&password).await;
        let seen = (answer.status.as_u16(), answer.reason());
        match (seen.0, seen.1.as_str()) {
            (401, "INVALID_CREDENTIALS") => 1,
            (429, "ACCOUNT_LOCKED") => {
                assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
                0
            }
            // More at once than can be hashed: refused before it is looked at.
            (503, "OVERLOADED") => 0,
            _ => panic!("{} {}", answer.status, answer.text()),
        }
    });
    futures::future::join_all(tries).await.into_iter().sum()
}

#[test]
fn two_hundred_parallel_guesses_on_two_replicas_evaluate_five() {
    run(async {
        let mesh = TestMesh::builder().replicas(2).start().await;
        let alice = mesh.persona("alice").await.visitor;
        let gateways = [mesh.gateway_on(0), mesh.gateway_on(1)];
        let guesses = (0..200).map(|n| (alice.elsewhere().at(&gateways[n % 2]), format!("guess number {n}"))).collect();
        assert!(evaluated(guesses).await <= 5);
        alice.elsewhere().try_login(PASSWORD).await.refused(429, "ACCOUNT_LOCKED");
        mesh.clock.advance(SignedDuration::from_secs(601));
        assert_eq!(alice.elsewhere().try_login(PASSWORD).await.status, 200, "the lock ends");
    });
}

#[test]
fn lockout_outlives_an_empty_redis() {
    run(async {
        let mesh = TestMesh::start().await;
        let alice = mesh.persona("alice").await.visitor;
        let guesses =
            |from: usize| (from..from + 5).map(|n| (alice.elsewhere(), format!("guess number {n}"))).collect();
        assert_eq!(evaluated(guesses(0)).await, 5);
        mesh.redis.flush().await;
        assert_eq!(evaluated(guesses(5)).await, 0);
    });
}

in_both_topologies! {
    async fn a_right_password_in_between_forgives_the_failures(mesh) {
        let alice = mesh.persona("alice").await.visitor;
        for round in 0..3 {
            for _ in 0..4 {
                alice.elsewhere().try_login("not the password").await.refused(401, "INVALID_CREDENTIALS");
            }
            assert_eq!(alice.elsewhere().try_login(PASSWORD).await.status, 200, "round {round}");
        }
    }

    async fn strangers_cannot_lock_out_a_known_device(mesh) {
        let alice = mesh.visitor("alice");
        let mut body = alice.sign_up_body();
        let device = format!("{}-0123456789abcdef0123456789abcdef", alice.device_id);
        body["device_id"] = json!(device);
        alice.post("/api/v1/auth/signup", &body).await.expect(201);
        for _ in 0..8 {
            alice.elsewhere().try_login("not the password").await;
        }
        alice.elsewhere().try_login(PASSWORD).await.refused(429, "ACCOUNT_LOCKED");
        let login = json!({"email": alice.email, "password": PASSWORD, "device_id": device});
        assert_eq!(alice.post("/api/v1/auth/login", &login).await.status, 200);
    }

    async fn the_locked_answer_does_not_tell_whether_the_account_exists(mesh) {
        let (known, unknown) = (mesh.persona("alice").await.visitor, mesh.visitor("nobody"));
        for visitor in [&known, &unknown] {
            for _ in 0..5 {
                visitor.elsewhere().try_login("not the password").await.refused(401, "INVALID_CREDENTIALS");
            }
            visitor.elsewhere().try_login("not the password").await.refused(429, "ACCOUNT_LOCKED");
        }
    }
}
