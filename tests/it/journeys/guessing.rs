//! Guessing is bounded across replicas, and lockout is no weapon (A5).

use coreloop_auth_api::v1::LoginRequest;
use coreloop_testkit::{
    PASSWORD, TestMesh, Visitor, rpc, run,
    wait::{PATIENCE, within},
    wait_until,
};
use futures::future::join_all;
use jiff::SignedDuration;
use prost::Message as _;
use serde_json::{Value, json};

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
    join_all(tries).await.into_iter().sum()
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

/// Hashes so slow and places so few that of several tries at once most are sent away.
const CRAMPED: &str = "[limit]\nenabled = false\n[auth]\nhash_threads = 1\nhash_queue = 1\n\
                       argon2_memory_kib = 8192\nargon2_passes = 16\n";

#[test]
fn a_try_that_finds_no_place_is_no_guess() {
    run(async {
        let mesh = TestMesh::builder().toml(CRAMPED).start().await;
        for path in ["/api/v1/auth/login", "/api/auth/admin/login"] {
            let nobody = mesh.visitor("nobody");
            let mut body = json!({"email": nobody.email, "password": "not the password"});
            if path.contains("admin") {
                body["code"] = json!("000000");
            }
            let guess = async || nobody.elsewhere().post(path, &body).await.reason();
            let mut seen = join_all((0..40).map(|_| guess())).await;
            assert!(seen.iter().any(|reason| reason == "OVERLOADED"), "nobody was sent away: {seen:?}");
            // One at a time finds a place, until the failures lock.
            for _ in 0..6 {
                seen.push(guess().await);
            }
            let evaluated = seen.iter().filter(|reason| *reason == "INVALID_CREDENTIALS").count();
            assert_eq!((evaluated, seen.last().unwrap().as_str()), (5, "ACCOUNT_LOCKED"), "{path}: {seen:?}");
        }
    });
}

#[test]
fn who_hangs_up_has_failed_and_keeps_nobody_waiting() {
    run(async {
        // A hash outlasts the look that sees its place taken: nobody is answered before they hang up.
        let slow = "[limit]\nenabled = false\n[auth]\nhash_threads = 1\nhash_queue = 16\n\
                    argon2_memory_kib = 65536\nargon2_passes = 16\n";
        let mesh = TestMesh::builder().toml(slow).start().await;
        let (auth, path) = (mesh.grpc("auth"), "/coreloop.auth.v1.AuthService/Login");
        let (email, password) = ("nobody@example.com".to_owned(), "not the password".to_owned());
        let login = LoginRequest { email, password, ..LoginRequest::default() }.encode_to_vec();
        for taken in 1..=5 {
            let counted = "select coalesce(max(cardinality(tries)), 0)::bigint from auth.sign_in_guards";
            let counted = async || mesh.db.count(counted).await == taken;
            tokio::select! {
                answer = rpc::call(&auth, path, &login, &[]) => panic!("it was heard to the end: {answer:?}"),
                _ = wait_until(format!("place {taken} is taken"), PATIENCE, counted) => {}
            }
        }
        // Whoever had to wait for a place would do so for eight seconds, and be told OVERLOADED.
        let next = within("the next one's answer", PATIENCE, rpc::call(&auth, path, &login, &[])).await;
        assert_eq!(rpc::reason(&next.unwrap_err()), "ACCOUNT_LOCKED");
    });
}

#[test]
fn an_address_is_told_of_so_many_failures_however_many_it_tries_at_once() {
    run(async {
        let few = "[limit]\nenabled = false\n[auth]\naddress_failures = 5\n";
        let mesh = TestMesh::builder().replicas(2).toml(few).start().await;
        let (alice, eve) = (mesh.persona("alice").await.visitor, mesh.visitor("eve"));
        let gateways = [mesh.gateway_on(0), mesh.gateway_on(1)];
        let login = async |at: &str, email: &str, password: &str| {
            eve.at(at).post("/api/v1/auth/login", &json!({"email": email, "password": password})).await
        };
        let tries = (0..40).map(|n| {
            let (at, email) = (&gateways[n % 2], format!("person-{n}@example.com"));
            let login = &login;
            async move { login(at, &email, "not the password").await }
        });
        let (told, refused): (Vec<_>, Vec<_>) =
            join_all(tries).await.into_iter().partition(|answer| answer.reason() == "INVALID_CREDENTIALS");
        assert_eq!(told.len(), 5);
        for answer in &refused {
            answer.refused(429, "RATE_LIMITED");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
        }
        // What was not told is no guess: beside the address five accounts have a failure.
        let failed = "select count(*) from auth.sign_in_guards where cardinality(tries) > 0";
        assert_eq!(mesh.db.count(failed).await, 6);
        login(&gateways[0], &alice.email, PASSWORD).await.refused(429, "RATE_LIMITED");
        assert_eq!(alice.elsewhere().try_login(PASSWORD).await.status, 200, "another address");
        mesh.clock.advance(SignedDuration::from_secs(601));
        login(&gateways[0], &alice.email, PASSWORD).await.expect(200);
    });
}

#[test]
fn nobodys_password_costs_the_work_of_somebodys() {
    run(async {
        let mesh = TestMesh::start().await;
        let (person, admin) = (mesh.persona("alice").await, mesh.admin_account().await);
        let social = mesh.persona("social").await;
        let gone = format!("delete from auth.credentials where user_id = '{}'", social.user_id);
        mesh.db.execute(&gone).await;
        let work = || -> u64 {
            let text = mesh.node(0, "auth").running().metrics.encode();
            let count = text.lines().find_map(|line| line.strip_prefix("auth_argon2_kib_total "));
            count.expect("the metric").parse().unwrap()
        };
        let cost = async |path: &str, email: &str, more: Value| {
            let mut body = json!({"email": email, "password": "not the password"});
            body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
            let before = work();
            let answer = mesh.visitor("eve").post(path, &body).await;
            answer.refused(401, "INVALID_CREDENTIALS");
            (work() - before, answer.body)
        };
        let mut seen = Vec::new();
        for email in [person.visitor.email.as_str(), &social.visitor.email, "nobody@example.com"] {
            seen.push(cost("/api/v1/auth/login", email, json!({})).await);
        }
        for email in [admin.visitor.email.as_str(), &person.visitor.email, "nobody@example.com"] {
            seen.push(cost("/api/auth/admin/login", email, json!({"code": "000000"})).await);
        }
        assert_eq!(seen[0].0, 19_456 * 2, "the default parameters");
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
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
