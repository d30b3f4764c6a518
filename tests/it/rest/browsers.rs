//! Browsers: CORS and gRPC-Web.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coreloop_testkit::{Rest, TestMesh, rpc, run};
use http::Method;

const ORIGIN: &str = "https://app.example.com";

async fn open_to_the_app() -> TestMesh {
    TestMesh::builder().toml(&format!("[gateway.cors]\norigins = [\"{ORIGIN}\"]\n")).envoy().start().await
}

#[test]
fn a_page_of_the_app_may_call_and_others_may_not() {
    run(async {
        let mesh = open_to_the_app().await;
        for base in [mesh.front(), mesh.gateway()] {
            let rest = Rest::to(&base);
            let preflight = |origin: &str| {
                let call = rest.call(Method::OPTIONS, "/api/v1/auth/me").header("origin", origin);
                call.header("access-control-request-method", "GET")
                    .header("access-control-request-headers", "authorization,content-type")
            };
            let allowed = preflight(ORIGIN).send().await;
            assert!(allowed.status.is_success(), "{base}: {} {}", allowed.status, allowed.text());
            assert_eq!(allowed.header("access-control-allow-origin"), ORIGIN);
            assert!(allowed.header("access-control-allow-headers").to_lowercase().contains("authorization"));
            assert_eq!(preflight("https://evil.example").send().await.header("access-control-allow-origin"), "");

            let real = rest.get("/healthz").header("origin", ORIGIN).send().await;
            assert_eq!(real.header("access-control-allow-origin"), ORIGIN);
            assert!(real.header("vary").to_lowercase().contains("origin"));
            let refused = rest.get("/api/v1/auth/me").header("origin", ORIGIN).send().await;
            refused.refused(401, "TOKEN_MISSING");
            assert_eq!(refused.header("access-control-allow-origin"), ORIGIN, "{base}: refusals are read too");
            assert!(refused.header("access-control-expose-headers").contains("x-request-id"), "{base}");
            assert!(refused.header("vary").to_lowercase().contains("origin"), "{base}");
            let hidden = rest.get("/api/v1/auth/me").header("origin", "https://evil.example").send().await;
            assert_eq!(hidden.header("access-control-allow-origin"), "", "{base}");
            let plain = rest.get("/api/v1/auth/me").send().await;
            for answer in [&hidden, &plain] {
                answer.refused(401, "TOKEN_MISSING");
                assert_eq!(answer.header("vary").to_lowercase(), "origin", "{base}: no cache hands it to the page");
            }
            let other = rest.get("/healthz").header("origin", "https://evil.example").send().await;
            assert_eq!(other.header("access-control-allow-origin"), "");
        }
    });
}

#[test]
fn without_a_setting_no_page_may_call() {
    run(async {
        let mesh = crate::meshes::TOGETHER.get().await;
        let answer = mesh.rest().get("/healthz").header("origin", ORIGIN).send().await;
        assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, ""));
    });
}

in_both_topologies! {
    async fn a_browser_calls_by_grpc_web(mesh) {
        let alice = mesh.persona("alice").await;
        for base in [mesh.front(), mesh.gateway()] {
            let path = "/coreloop.auth.v1.AuthService/GetMe";
            let rest = Rest::to(&base);
            let call = |content_type: &str, body: Vec<u8>, token: &str| {
                rest.call(Method::POST, path).header("content-type", content_type).header("accept", content_type).header("x-grpc-web", "1").bearer(token).body(body)
            };
            let binary = call("application/grpc-web+proto", rpc::frame(&[]).to_vec(), &alice.access_token).send().await;
            assert_eq!(binary.status, 200, "{}", binary.text());
            assert!(binary.header("content-type").starts_with("application/grpc-web"));
            assert!(binary.text().contains(&alice.user_id) && binary.text().contains("grpc-status:0"), "{}", binary.text());

            let text = call("application/grpc-web-text", STANDARD.encode(rpc::frame(&[])).into_bytes(), &alice.access_token).send().await;
            assert_eq!(text.status, 200, "{}", text.text());
            // Each piece is padded by itself, so the text is read four letters at a time.
            let letters = text.body.chunks(4).filter_map(|four| STANDARD.decode(four).ok());
            let decoded: Vec<u8> = letters.flatten().collect();
            assert!(String::from_utf8_lossy(&decoded).contains(&alice.user_id), "{base}: {:?} {}", text.headers, text.text());

            let stranger = call("application/grpc-web+proto", rpc::frame(&[]).to_vec(), "").send().await;
            let said = format!("{} {:?} {}", stranger.status, stranger.headers, stranger.text());
            assert!(stranger.header("grpc-status") == "16" || stranger.text().contains("grpc-status:16") || stranger.status == 401, "{said}");
        }
    }
}
