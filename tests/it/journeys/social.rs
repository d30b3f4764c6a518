//! Social sign-in with Google, Kakao and Naver, and the attacks on it (A8).

use coreloop_testkit::{Back, Persona, Rest, TestMesh, Visitor, logs, run, wait::PATIENCE, wait_until};
use jiff::SignedDuration;
use serde_json::{Value, json};

const PROVIDERS: [&str; 3] = ["google", "kakao", "naver"];

/// The name at the provider: unique, so no email meets another test's.
fn name_at_provider(visitor: &Visitor, provider: &str) -> String {
    format!("{}.{provider}", visitor.handle())
}

async fn authorize(visitor: &Visitor, provider: &str) -> Value {
    visitor.get(&format!("/api/v1/auth/authorize/{provider}?device_id={}", visitor.device_id)).await.expect(200)
}

/// Code and state as the provider sends them to the redirect target.
async fn consent(mesh: &TestMesh, authorization: &Value, name: &str) -> (String, String) {
    let back = mesh.stand_ins.as_ref().unwrap().consent(authorization, name).await;
    (back.param("code"), back.param("state"))
}

async fn sign_in(mesh: &TestMesh, visitor: &Visitor, provider: &str, name: &str) -> Value {
    let authorization = authorize(visitor, provider).await;
    let (code, state) = consent(mesh, &authorization, name).await;
    visitor.post(&format!("/api/v1/auth/login/{provider}"), &json!({"code": code, "state": state})).await.expect(200)
}

in_both_topologies! {
    async fn three_providers_sign_a_person_in(mesh) {
        for provider in PROVIDERS {
            let visitor = mesh.visitor("alice");
            let name = name_at_provider(&visitor, provider);
            let authorization = authorize(&visitor, provider).await;
            assert_eq!(authorization["code_challenge_method"], "S256");
            assert_eq!(authorization["provider"], provider);
            assert!(!authorization.to_string().contains("verifier"), "the verifier never leaves the server");
            let first = sign_in(mesh, &visitor, provider, &name).await;
            assert_eq!(first["is_new_user"], true, "{provider}");
            let persona = Persona::signed_in(visitor.clone(), &first);
            assert_eq!(persona.me().await["email"], format!("{name}@example.com"), "{provider}");
            let again = sign_in(mesh, &visitor, provider, &name).await;
            assert_eq!(again["is_new_user"], false, "{provider}");
            assert_eq!(again["user"]["id"], persona.user_id, "{provider}");
        }
    }

    async fn the_other_paths_of_the_chapter_work_too(mesh) {
        let visitor = mesh.visitor("alice");
        let authorization = visitor.get("/v1/auth/oauth/google").await.expect(200);
        let (code, state) = consent(mesh, &authorization, &name_at_provider(&visitor, "google")).await;
        let session = visitor.post("/v1/auth/oauth/callback", &json!({"code": code, "state": state})).await.expect(200);
        assert_eq!(session["is_new_user"], true);
    }

    async fn the_browser_redirect_ends_in_tokens_by_a_one_time_code(mesh) {
        for provider in PROVIDERS {
            let visitor = mesh.visitor("bob");
            let authorization = authorize(&visitor, provider).await;
            let (code, state) = consent(mesh, &authorization, &name_at_provider(&visitor, provider)).await;
            let callback = format!("/api/v1/auth/callback/{provider}?code={code}&state={state}");
            let redirect = visitor.get(&callback).await;
            let login_code = Back::by(&redirect).param("code");
            assert!(!redirect.header("location").contains("eyJ"), "no token in the deep link");
            let exchange = json!({"code": login_code, "device_id": visitor.device_id});
            let session = visitor.post("/api/v1/auth/login/exchange", &exchange).await.expect(200);
            assert!(Persona::signed_in(visitor.clone(), &session).is_signed_in().await);
            visitor.post("/api/v1/auth/login/exchange", &exchange).await.refused(400, "LOGIN_CODE_INVALID");
            visitor.get(&callback).await.refused(400, "OAUTH_STATE_INVALID");
        }
    }

    async fn a_state_works_once_also_when_it_fails(mesh) {
        let visitor = mesh.visitor("carol");
        let authorization = authorize(&visitor, "google").await;
        let (code, state) = consent(mesh, &authorization, &name_at_provider(&visitor, "google")).await;
        let wrong = json!({"code": "not-a-code", "state": state});
        visitor.post("/api/v1/auth/login/google", &wrong).await.refused(400, "PROVIDER_ERROR");
        let late = visitor.post("/api/v1/auth/login/google", &json!({"code": code, "state": state})).await;
        late.refused(400, "OAUTH_STATE_INVALID");
        let info = late.detail("google.rpc.ErrorInfo").unwrap();
        assert!(info["metadata"]["fresh_authorize_path"].is_string(), "a fresh start is offered: {info}");
    }

    async fn who_comes_twice_is_offered_a_start_that_asks_the_same(mesh) {
        let visitor = mesh.visitor("carol");
        let start = format!("/api/v1/auth/authorize/google?device_id={}&device_name=old%20phone", visitor.device_id);
        let first = visitor.get(&start).await.expect(200);
        let wrong = json!({"code": "not-a-code", "state": first["state"]});
        visitor.post("/v1/auth/oauth/callback", &wrong).await.refused(400, "PROVIDER_ERROR");
        let again = visitor.post("/v1/auth/oauth/callback", &wrong).await;
        again.refused(400, "OAUTH_STATE_INVALID");
        let fresh = again.detail("google.rpc.ErrorInfo").unwrap()["metadata"].clone();
        assert_eq!(fresh["fresh_authorize_path"], "/api/v1/auth/authorize/google");
        let (code, state) = consent(mesh, &fresh, &name_at_provider(&visitor, "google")).await;
        assert_eq!(fresh["state"], state.as_str());
        let body = json!({"code": code, "state": state});
        let session = visitor.post("/v1/auth/oauth/callback", &body).await.expect(200);
        let carol = Persona::signed_in(visitor.clone(), &session);
        assert_eq!(carol.get("/api/v1/auth/tokens").await.expect(200)["tokens"][0]["device_name"], "old phone");

        let unheard_of = json!({"code": "x", "state": "nobody-made-this-state"});
        let nothing = visitor.post("/v1/auth/oauth/callback", &unheard_of).await;
        nothing.refused(400, "OAUTH_STATE_INVALID");
        let info = nothing.detail("google.rpc.ErrorInfo").unwrap();
        assert!(!info.to_string().contains("authorize"), "no path is told where no provider is known: {info}");
    }

    async fn fifty_parallel_uses_of_a_state_sign_in_once(mesh) {
        let visitor = mesh.visitor("carol");
        let authorization = authorize(&visitor, "kakao").await;
        let (code, state) = consent(mesh, &authorization, &name_at_provider(&visitor, "kakao")).await;
        let body = json!({"code": code, "state": state});
        let tries = (0..50).map(|_| {
            let (racer, body) = (visitor.elsewhere(), body.clone());
            async move { racer.post("/api/v1/auth/login/kakao", &body).await.status.as_u16() }
        });
        let statuses = futures::future::join_all(tries).await;
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    }

    async fn a_state_of_one_provider_is_refused_at_another(mesh) {
        let visitor = mesh.visitor("carol");
        let authorization = authorize(&visitor, "google").await;
        let (code, state) = consent(mesh, &authorization, &name_at_provider(&visitor, "google")).await;
        let mixed = visitor.post("/api/v1/auth/login/naver", &json!({"code": code, "state": state})).await;
        mixed.refused(400, "PROVIDER_MISMATCH");
    }

    async fn a_code_of_another_sign_in_is_refused(mesh) {
        for provider in ["google", "kakao"] {
            let (victim, attacker) = (mesh.visitor("victim"), mesh.visitor("attacker"));
            let of_victim = authorize(&victim, provider).await;
            let (stolen, _) = consent(mesh, &of_victim, &name_at_provider(&victim, provider)).await;
            let of_attacker = authorize(&attacker, provider).await;
            let body = json!({"code": stolen, "state": of_attacker["state"]});
            attacker.post(&format!("/api/v1/auth/login/{provider}"), &body).await.refused(400, "PROVIDER_ERROR");
        }
    }

    async fn an_unknown_provider_or_redirect_is_refused(mesh) {
        let visitor = mesh.visitor("eve");
        visitor.get("/api/v1/auth/authorize/github").await.refused(404, "PROVIDER_UNKNOWN");
        visitor.at(&mesh.gateway()).get("/api/v1/auth/authorize/..%2Fgoogle").await.refused(400, "VALIDATION_FAILED");
        visitor.get("/api/v1/auth/authorize/..%2Fgoogle").await.refused(400, "MALFORMED_REQUEST");
        for redirect in ["https://evil.example/callback", "coreloop://app/login/", "coreloop%3A%2F%2Fapp%2Flogin%2F..%2Fx"] {
            for field in ["redirect_uri", "app_redirect_uri"] {
                let path = format!("/api/v1/auth/authorize/google?{field}={redirect}");
                visitor.get(&path).await.refused(400, "REDIRECT_URI_NOT_ALLOWED");
            }
        }
    }

    async fn an_existing_email_is_never_merged_but_told_how_to_link(mesh) {
        let alice = mesh.persona("alice").await;
        let name = alice.visitor.email.split('@').next().unwrap().to_owned();
        for provider in ["google", "kakao"] {
            let authorization = authorize(&alice.visitor, provider).await;
            let (code, state) = consent(mesh, &authorization, &name).await;
            let path = format!("/api/v1/auth/login/{provider}");
            let refused = alice.visitor.post(&path, &json!({"code": code, "state": state})).await;
            refused.refused(409, "EMAIL_BELONGS_TO_ACCOUNT");
            assert!(refused.detail("google.rpc.ErrorInfo").unwrap()["metadata"]["link_path"].is_string());
        }
    }

    async fn a_person_links_and_unlinks_but_never_the_last_method(mesh) {
        let alice = mesh.persona("alice").await;
        let name = alice.visitor.email.split('@').next().unwrap().to_owned();
        let authorization = alice.get("/api/v1/auth/authorize/naver?link=true").await.expect(200);
        let (code, state) = consent(mesh, &authorization, &name).await;
        let link = alice.post("/api/v1/auth/links/naver", &json!({"code": code, "state": state})).await.expect(200);
        assert_eq!(link["link"]["provider"], "naver");
        let links = alice.get("/api/v1/auth/links").await.expect(200);
        assert_eq!((links["has_password"].as_bool(), links["links"].as_array().unwrap().len()), (Some(true), 1));
        assert_eq!(sign_in(mesh, &alice.visitor, "naver", &name).await["user"]["id"], alice.user_id);

        alice.delete("/api/v1/auth/links/naver").await.expect(200);
        alice.delete("/api/v1/auth/links/naver").await.refused(404, "NOT_FOUND");

        let visitor = mesh.visitor("bob");
        let session = sign_in(mesh, &visitor, "kakao", &name_at_provider(&visitor, "kakao")).await;
        let bob = Persona::signed_in(visitor, &session);
        bob.delete("/api/v1/auth/links/kakao").await.refused(400, "LAST_SIGN_IN_METHOD");
    }

    async fn a_linked_account_cannot_be_linked_by_another_person(mesh) {
        let visitor = mesh.visitor("bob");
        let name = name_at_provider(&visitor, "google");
        sign_in(mesh, &visitor, "google", &name).await;
        let eve = mesh.persona("eve").await;
        let authorization = eve.get("/api/v1/auth/authorize/google?link=true").await.expect(200);
        let (code, state) = consent(mesh, &authorization, &name).await;
        let taken = eve.post("/api/v1/auth/links/google", &json!({"code": code, "state": state})).await;
        taken.refused(409, "SOCIAL_ACCOUNT_TAKEN");
    }

    async fn a_link_that_another_person_started_is_refused(mesh) {
        let (eve, victim) = (mesh.persona("eve").await, mesh.persona("victim").await);
        let authorization = eve.get("/api/v1/auth/authorize/google?link=true").await.expect(200);
        let (code, state) = consent(mesh, &authorization, &name_at_provider(&eve.visitor, "google")).await;
        let body = json!({"code": code, "state": state});
        victim.post("/api/v1/auth/links/google", &body).await.refused(400, "OAUTH_STATE_INVALID");
        let links = victim.get("/api/v1/auth/links").await.expect(200);
        assert_eq!(links["links"].as_array().map_or(0, Vec::len), 0);
    }

    async fn a_sign_in_state_does_not_link_and_a_link_state_does_not_sign_in(mesh) {
        let alice = mesh.persona("alice").await;
        let name = name_at_provider(&alice.visitor, "google");
        let authorization = authorize(&alice.visitor, "google").await;
        let (code, state) = consent(mesh, &authorization, &name).await;
        let body = json!({"code": code, "state": state});
        alice.post("/api/v1/auth/links/google", &body).await.refused(400, "OAUTH_STATE_INVALID");
        let authorization = alice.get("/api/v1/auth/authorize/google?link=true").await.expect(200);
        let (code, state) = consent(mesh, &authorization, &name).await;
        let body = json!({"code": code, "state": state});
        alice.visitor.post("/api/v1/auth/login/google", &body).await.refused(400, "OAUTH_STATE_INVALID");
    }
}

#[test]
fn a_lying_id_token_signs_nobody_in() {
    run(async {
        let mesh = TestMesh::builder().stand_ins().exact_limits().start().await;
        let stand_ins = mesh.stand_ins.as_ref().unwrap();
        for (lie, error_code) in [
            ("nonce", "id_token_nonce"),
            ("no_nonce", "id_token_nonce"),
            ("aud", "id_token_audience"),
            ("iss", "id_token_issuer"),
            ("exp", "id_token_expired"),
            ("sub", "malformed_response"),
            ("key", "id_token_signature"),
            ("kid", "id_token_key"),
            ("alg_none", "id_token_signature"),
            ("hs256", "id_token_signature"),
            ("signature", "id_token_signature"),
            ("garbage", "malformed_response"),
            ("missing", "id_token_missing"),
        ] {
            let visitor = mesh.visitor("eve");
            let name = name_at_provider(&visitor, "google");
            let authorization = authorize(&visitor, "google").await;
            let (code, state) = consent(&mesh, &authorization, &name).await;
            stand_ins
                .fault(&json!({"provider": "google", "endpoint": "token", "kind": "tamper", "what": lie, "times": 1}))
                .await;
            let answer = visitor.post("/api/v1/auth/login/google", &json!({"code": code, "state": state})).await;
            answer.refused(400, "PROVIDER_ERROR");
            let told = &answer.detail("google.rpc.ErrorInfo").unwrap()["metadata"]["error_code"];
            assert_eq!(told, error_code, "refused for another reason than {lie}");
        }
        assert_eq!(mesh.db.count("select count(*) from auth.users where email like 'eve.%'").await, 0);
    });
}

#[test]
fn an_unverified_email_is_not_taken_as_the_accounts() {
    run(async {
        let mesh = TestMesh::builder().stand_ins().exact_limits().start().await;
        let victim = mesh.persona("victim").await;
        for provider in PROVIDERS {
            let attacker = mesh.visitor("attacker");
            let name = name_at_provider(&attacker, provider);
            let claim = json!({"id": name, "email": victim.visitor.email, "email_verified": false});
            mesh.stand_ins.as_ref().unwrap().set_persona(&claim).await;
            let authorization = authorize(&attacker, provider).await;
            let (code, state) = consent(&mesh, &authorization, &name).await;
            let path = format!("/api/v1/auth/login/{provider}");
            let answer = attacker.post(&path, &json!({"code": code, "state": state})).await;
            answer.refused(409, "EMAIL_BELONGS_TO_ACCOUNT");
        }
        assert_eq!(mesh.db.count("select count(*) from auth.social_accounts").await, 0);
        let mine =
            format!("select count(*) from auth.users where email = '{}' and not email_verified", victim.visitor.email);
        assert_eq!(mesh.db.count(&mine).await, 1);
        assert_eq!(mesh.db.count("select count(*) from auth.users where nickname = 'attacker'").await, 0);
    });
}

#[test]
fn provider_failures_are_retried_once_then_told_with_their_code() {
    run(async {
        let mesh = TestMesh::builder().stand_ins().exact_limits().start().await;
        let stand_ins = mesh.stand_ins.as_ref().unwrap();
        for provider in PROVIDERS {
            let once = mesh.visitor("alice");
            let authorization = authorize(&once, provider).await;
            let (code, state) = consent(&mesh, &authorization, &name_at_provider(&once, provider)).await;
            stand_ins.fault(&json!({"provider": provider, "endpoint": "token", "kind": "error", "times": 1})).await;
            let path = format!("/api/v1/auth/login/{provider}");
            once.post(&path, &json!({"code": code, "state": state})).await.expect(200);

            let asked = stand_ins.requests(&format!("{provider}/token")).await;
            let always = mesh.visitor("bob");
            let authorization = authorize(&always, provider).await;
            let (code, state) = consent(&mesh, &authorization, &name_at_provider(&always, provider)).await;
            stand_ins.fault(&json!({"provider": provider, "endpoint": "token", "kind": "error", "times": 2})).await;
            let request_id = format!("0192f0c4-7f5e-7000-8000-{:0>12}", always.device_id.trim_start_matches("device-"));
            let call = always.rest().post(&path, &json!({"code": code, "state": state}));
            let answer = call.header("x-request-id", &request_id).send().await;
            assert_eq!(answer.reason(), "PROVIDER_ERROR", "{provider}: {}", answer.text());
            let info = answer.detail("google.rpc.ErrorInfo").unwrap();
            assert_eq!(info["metadata"]["provider"], provider);
            let error_code = if provider == "kakao" { "KOE9999" } else { "server_error" };
            assert_eq!(info["metadata"]["error_code"], error_code);
            let told = |line: &Value| line["provider"] == provider && line["error_code"] == error_code;
            wait_until("both failures are in the log", PATIENCE, async || {
                logs::lines_with(&request_id).iter().filter(|line| told(line)).count() == 2
            })
            .await;
            assert_eq!(stand_ins.requests(&format!("{provider}/token")).await - asked, 2, "{provider}: one retry");
        }
    });
}

#[test]
fn a_person_who_declines_at_the_provider_comes_back_with_the_error() {
    run(async {
        let mesh = TestMesh::builder().stand_ins().exact_limits().start().await;
        let stand_ins = mesh.stand_ins.as_ref().unwrap();
        let visitor = mesh.visitor("dora");
        let name = name_at_provider(&visitor, "kakao");
        stand_ins.set_persona(&json!({"id": name, "denies": true})).await;
        let authorization = authorize(&visitor, "kakao").await;
        let back = stand_ins.open(authorization["authorization_url"].as_str().unwrap(), &name).await;
        let callback = format!("/api/v1/auth/callback/kakao?{}", back.query().unwrap());
        let redirect = visitor.get(&callback).await;
        assert_eq!(redirect.status, 302, "{}", redirect.text());
        assert!(redirect.header("location").contains("error=access_denied"), "{}", redirect.header("location"));
    });
}

/// States that came too late or twice, as counted.
async fn states_expired(mesh: &TestMesh) -> u64 {
    let admin = Rest::to(format!("http://{}", mesh.node(0, "auth").running().admin_addr));
    let text = admin.get("/metrics").send().await.text();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("oauth_state_expired_total "));
    lines.next().map_or(0, |count| count.parse().unwrap())
}

#[test]
fn states_and_login_codes_end_with_their_time() {
    run(async {
        let mesh = TestMesh::builder().stand_ins().exact_limits().start().await;
        let visitor = mesh.visitor("carol");
        let authorization = authorize(&visitor, "google").await;
        let (code, state) = consent(&mesh, &authorization, &name_at_provider(&visitor, "google")).await;
        mesh.clock.advance(SignedDuration::from_secs(601));
        let late = visitor.post("/api/v1/auth/login/google", &json!({"code": code, "state": state})).await;
        late.refused(400, "OAUTH_STATE_INVALID");
        assert_eq!(states_expired(&mesh).await, 1);
        let used = visitor.post("/api/v1/auth/login/google", &json!({"code": code, "state": state})).await;
        used.refused(400, "OAUTH_STATE_INVALID");
        assert_eq!(states_expired(&mesh).await, 2);

        let authorization = authorize(&visitor, "kakao").await;
        let (code, state) = consent(&mesh, &authorization, &name_at_provider(&visitor, "kakao")).await;
        let redirect = visitor.get(&format!("/api/v1/auth/callback/kakao?code={code}&state={state}")).await;
        let login_code = Back::by(&redirect).param("code");
        mesh.clock.advance(SignedDuration::from_secs(61));
        visitor
            .post("/api/v1/auth/login/exchange", &json!({"code": login_code}))
            .await
            .refused(400, "LOGIN_CODE_INVALID");
    });
}
