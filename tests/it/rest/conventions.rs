//! Request ids, languages, compression, caching, deadlines.

use coreloop_testkit::run;
use http::Method;
use serde_json::json;

use crate::meshes::TOGETHER;

in_both_topologies! {
    async fn a_request_id_is_always_returned(mesh) {
        for path in ["/healthz", "/api/v1/auth/me", "/nothing", "/openapi.json"] {
            let answer = mesh.rest().get(path).send().await;
            assert!(!answer.header("x-request-id").is_empty(), "{path}");
        }
        let (one, two) = (mesh.rest().get("/healthz").send().await, mesh.rest().get("/healthz").send().await);
        assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
    }

    async fn errors_speak_the_callers_language(mesh) {
        for (language, locale, hint) in [("ko", "ko", "로그인"), ("ko-KR,ko;q=0.9,en;q=0.8", "ko", "로그인"), ("en", "en", "sign in"), ("fr, en;q=0.5", "en", "sign in")] {
            let answer = mesh.rest().get("/api/v1/auth/me").header("accept-language", language).send().await;
            answer.refused(401, "TOKEN_MISSING");
            let said = answer.detail("google.rpc.LocalizedMessage").unwrap_or_else(|| panic!("{language}: {}", answer.text()));
            assert_eq!(said["locale"], locale, "{language}");
            assert!(said["message"].as_str().unwrap().contains(hint), "{language}: {said}");
        }
    }

    async fn replies_are_snake_case_with_utc_times(mesh) {
        let me = mesh.persona("alice").await.me().await;
        for field in ["id", "nickname", "email_verified", "profile_image_url", "age_state", "created_at", "last_login_at"] {
            assert!(me.get(field).is_some(), "{field} is missing in {me}");
        }
        let created: jiff::Timestamp = me["created_at"].as_str().unwrap().parse().unwrap();
        assert!(me["created_at"].as_str().unwrap().ends_with('Z'));
        assert!(created.as_second() > 1_700_000_000);
    }

    async fn both_spellings_of_a_field_are_read(mesh) {
        let visitor = mesh.visitor("alice");
        let body = json!({"email": visitor.email, "password": coreloop_testkit::PASSWORD, "nickname": "a", "deviceName": "camel"});
        let session = visitor.post("/api/v1/auth/signup", &body).await.expect(201);
        let persona = coreloop_testkit::Persona::signed_in(visitor, &session);
        assert_eq!(persona.get("/api/v1/auth/tokens?pageSize=1").await.expect(200)["tokens"][0]["device_name"], "camel");
    }

    async fn lists_go_on_where_they_stopped(mesh) {
        let alice = mesh.persona("alice").await;
        for _ in 0..4 {
            alice.visitor.elsewhere().login().await;
        }
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = alice.get(&format!("/api/v1/auth/tokens?page_size=2&page_token={token}")).await.expect(200);
            seen.extend(page["tokens"].as_array().unwrap().iter().map(|t| t["session_id"].as_str().unwrap().to_owned()));
            token = page["next_page_token"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                break;
            }
        }
        let sessions = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!((seen.len(), sessions), (5, 5));
    }

    async fn private_answers_are_not_stored(mesh) {
        let answer = mesh.persona("alice").await.get("/api/v1/auth/me").await;
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[test]
fn long_replies_are_compressed_for_those_who_accept_it() {
    run(async {
        let mesh = TOGETHER.get().await;
        for base in [mesh.front(), mesh.gateway()] {
            let rest = coreloop_testkit::Rest::to(&base);
            let plain = rest.get("/openapi.json").send().await;
            assert_eq!(plain.header("content-encoding"), "");
            for (accept, magic) in [("gzip", &[0x1f, 0x8b][..]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd])] {
                let small = rest.get("/openapi.json").header("accept-encoding", accept).send().await;
                assert_eq!(small.header("content-encoding"), accept, "{base}");
                assert!(small.body.starts_with(magic) && small.body.len() * 3 < plain.body.len());
                assert!(small.header("vary").to_lowercase().contains("accept-encoding"));
            }
            let both = rest.get("/openapi.json").header("accept-encoding", "br;q=1, gzip;q=0").send().await;
            assert_eq!(both.header("content-encoding"), "", "what is refused is not sent");
        }
    });
}

#[test]
fn catalogues_answer_not_modified() {
    run(async {
        let mesh = TOGETHER.get().await;
        for path in ["/openapi.json", "/docs", "/.well-known/jwks.json", "/.well-known/openid-configuration"] {
            let first = mesh.rest().get(path).send().await;
            assert_eq!(first.status, 200, "{path}");
            let etag = first.header("etag");
            assert!(etag.ends_with('"'), "{path}: {etag}");
            assert!(first.header("cache-control").contains("max-age=60"), "{path}");
            for known in [etag, "*", &format!("\"other\", {etag}"), &format!("W/{}", etag.trim_start_matches("W/"))] {
                let again = mesh.rest().get(path).header("if-none-match", known).send().await;
                assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{path} {known}");
                assert_eq!(again.header("etag"), etag);
            }
            assert_eq!(mesh.rest().get(path).header("if-none-match", "\"other\"").send().await.status, 200);
        }
    });
}

#[test]
fn a_deadline_of_the_client_is_kept() {
    run(async {
        let mesh = TOGETHER.get().await;
        let alice = mesh.persona("alice").await;
        let answer = alice.call(Method::GET, "/api/v1/auth/tokens").header("grpc-timeout", "1n").send().await;
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (504, "DEADLINE_EXCEEDED"), "{}", answer.text());
        let answer = alice.call(Method::GET, "/api/v1/auth/tokens").header("grpc-timeout", "20S").send().await;
        assert_eq!(answer.status, 200);
    });
}

#[test]
fn a_header_of_a_client_that_would_be_metadata_of_ours_is_dropped() {
    run(async {
        let mesh = TOGETHER.get().await;
        let alice = mesh.persona("alice").await;
        let call = alice.call(Method::GET, "/api/v1/auth/me").header("grpc-status", "16").header("grpc-message", "no");
        assert_eq!(call.send().await.status, 200);
    });
}
