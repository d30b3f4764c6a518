//! A refresh token is good once; a lost reply is forgiven; a late replay ends the session (A3).

use std::collections::HashSet;

use coreloop_testkit::{Persona, TestMesh, run, wait::PATIENCE, wait_until};
use jiff::SignedDuration;

in_both_topologies! {
    async fn a_hundred_parallel_refreshes_have_one_lineage(mesh) {
        let alice = mesh.persona("alice").await;
        // Each from an address of its own, so no limit by address hides the race; the device is the same.
        let tries = (0..100).map(|_| {
            let mut racer = alice.clone();
            racer.visitor = alice.visitor.elsewhere();
            let device = alice.visitor.device_id.clone();
            async move { racer.try_refresh_from(&device).await }
        });
        let answers = futures::future::join_all(tries).await;
        let pairs: HashSet<_> = answers.iter().map(|answer| answer.expect(200)["refresh_token"].to_string()).collect();
        assert_eq!(pairs.len(), 1, "every reply carries the same pair");
        let next = Persona::signed_in(alice.visitor.clone(), &answers[0].json());
        assert!(next.is_signed_in().await);
        assert_eq!(next.try_refresh().await.status, 200, "the one lineage goes on");
    }

    async fn a_lost_reply_is_forgiven_to_the_same_device(mesh) {
        let alice = mesh.persona("alice").await;
        let (first, again) = (alice.try_refresh().await.expect(200), alice.try_refresh().await.expect(200));
        assert_eq!(first["access_token"], again["access_token"]);
        assert_eq!(first["refresh_token"], again["refresh_token"]);
    }

    async fn another_device_with_a_used_token_ends_the_session(mesh) {
        let alice = mesh.persona("alice").await;
        let next = Persona::signed_in(alice.visitor.clone(), &alice.try_refresh().await.expect(200));
        alice.try_refresh_from("stolen-laptop").await.refused(401, "REFRESH_TOKEN_REUSED");
        next.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        assert_eq!(next.try_refresh().await.status, 401, "the family is burnt");
        alice.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
    }

    async fn an_access_token_does_not_refresh(mesh) {
        let mut alice = mesh.persona("alice").await;
        alice.refresh_token.clone_from(&alice.access_token);
        alice.try_refresh().await.refused(401, "REFRESH_TOKEN_INVALID");
    }

    async fn nonsense_does_not_refresh(mesh) {
        let mut alice = mesh.persona("alice").await;
        for nonsense in ["x", "a.b.c", &"x".repeat(4096), "eyJhbGciOiJub25lIn0.e30."] {
            nonsense.clone_into(&mut alice.refresh_token);
            alice.try_refresh().await.refused(401, "REFRESH_TOKEN_INVALID");
        }
        alice.refresh_token = "x".repeat(4097);
        alice.try_refresh().await.refused(400, "VALIDATION_FAILED");
    }
}

#[test]
fn a_late_replay_burns_the_family() {
    run(async {
        let mesh = TestMesh::start().await;
        let alice = mesh.persona("alice").await;
        let next = Persona::signed_in(alice.visitor.clone(), &alice.try_refresh().await.expect(200));
        mesh.clock.advance(SignedDuration::from_secs(11));
        alice.try_refresh().await.refused(401, "REFRESH_TOKEN_REUSED");
        next.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        let audited = format!(
            "select count(*) from auth.login_audits where user_id = '{}' and method = 'refresh'
                and outcome = 'REFRESH_TOKEN_REUSED' and ip = '{}' and jti is not null",
            alice.user_id, alice.visitor.source
        );
        wait_until("it is audited", PATIENCE, async || mesh.db.count(&audited).await == 1).await;
    });
}

#[test]
fn tokens_end_with_their_time() {
    run(async {
        let mesh = TestMesh::start().await;
        let mut alice = mesh.persona("alice").await;
        mesh.clock.advance(SignedDuration::from_secs(900 + 31));
        alice.get("/api/v1/auth/me").await.refused(401, "TOKEN_EXPIRED");
        alice.refresh().await;
        assert!(alice.is_signed_in().await);
        mesh.clock.advance(SignedDuration::from_hours(14 * 24 + 1));
        assert_eq!(alice.try_refresh().await.status, 401);
    });
}

#[test]
fn rotations_in_a_race_on_two_replicas_leave_one_session() {
    run(async {
        let mesh = TestMesh::builder().replicas(2).start().await;
        let mut alice = mesh.persona("alice").await;
        let gateways = [mesh.gateway_on(0), mesh.gateway_on(1)];
        for round in 0..10 {
            let tries = (0..10).map(|number| {
                let mut racer = alice.clone();
                racer.visitor = alice.visitor.elsewhere().at(&gateways[number % 2]);
                let device = alice.visitor.device_id.clone();
                async move { racer.try_refresh_from(&device).await }
            });
            let answers = futures::future::join_all(tries).await;
            let pairs: HashSet<_> =
                answers.iter().map(|answer| answer.expect(200)["refresh_token"].to_string()).collect();
            assert_eq!(pairs.len(), 1, "round {round}");
            alice = Persona::signed_in(alice.visitor.clone(), &answers[0].json());
        }
        let sessions = alice.get("/api/v1/auth/tokens").await.expect(200);
        assert_eq!(sessions["tokens"].as_array().unwrap().len(), 1);
    });
}
