//! No spelling of a path gets around the decision (A9).

use coreloop_testkit::{Rest, raw};

use crate::meshes::TOGETHER;

/// Spellings that some server on the way might read as `path`.
fn spellings(path: &str) -> Vec<String> {
    let (head, last) = path.rsplit_once('/').unwrap();
    let first = last.chars().next().unwrap();
    let encoded = format!("%{:02x}{}", u32::from(first), &last[1..]);
    let encoded_upper = format!("%{:02X}{}", u32::from(first), &last[1..]);
    let twice = format!("%25{:02x}{}", u32::from(first), &last[1..]);
    let mut all: Vec<String> = [
        "/",
        "//",
        "/.",
        "/./",
        "/..",
        "/%2e",
        "/%2E%2E",
        "%2f",
        "%2F",
        "?",
        "#",
        ";",
        ";a=b",
        "%3B",
        "%00",
        "%20",
        "%09",
        "%0a",
        ".json",
        ":",
        "%23",
        "%3f",
        "/*",
        "\\",
        "%5c",
        "..;/",
        "/%2e%2e/x",
        "%c0%af",
        "%ef%bc%8f",
    ]
    .iter()
    .map(|tail| format!("{path}{tail}"))
    .collect();
    for inside in [
        "//",
        "/./",
        "/x/../",
        "/%2e/",
        "/x/%2e%2e/",
        "/x/%2E%2E/",
        "/x/.%2e/",
        "%2f",
        "%2F",
        "%252f",
        "/;/",
        "/x/..;/",
        "\\",
        "%5c",
        "/%2f",
        "%2f/",
    ] {
        all.push(format!("{head}{inside}{last}"));
    }
    for last in [encoded, encoded_upper, twice, last.to_uppercase(), capital(last)] {
        all.push(format!("{head}/{last}"));
    }
    for front in [
        "/",
        "/.",
        "/%2e",
        "/x/..",
        "/healthz/..",
        "/healthz/%2e%2e",
        "/healthz%2f..",
        "/openapi.json/..",
        "/;",
        "/public/..;",
    ] {
        all.push(format!("{front}{path}"));
    }
    all.push(path.to_uppercase());
    all.push(path.replace("/api/", "/Api/"));
    all.push(path.replace("/api/", "/%61pi/"));
    all.push(path.replace("/auth/", "/auth%2F"));
    all
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

/// Sends the request target as it is; nothing on our side reads it.
async fn ask(base: &str, method: &str, target: &str, token: &str) -> raw::RawAnswer {
    let address = base.strip_prefix("http://").unwrap();
    let authorization = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\n{authorization}content-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
    );
    raw::send(address, request.as_bytes()).await
}

#[test]
fn no_spelling_lets_a_stranger_in() {
    coreloop_testkit::run(async {
        let mesh = TOGETHER.get().await;
        let mut asked = 0;
        for base in [mesh.front(), mesh.gateway()] {
            for (method, path) in [
                ("GET", "/api/v1/auth/me"),
                ("GET", "/v1/users/me"),
                ("GET", "/api/v1/auth/tokens"),
                ("POST", "/api/v1/auth/logout-all"),
                ("GET", "/api/v1/auth/admin/invites"),
                ("POST", "/api/v1/auth/admin/keys/rotate"),
                ("GET", "/metrics"),
            ] {
                for spelling in spellings(path) {
                    let answer = ask(&base, method, &spelling, "").await;
                    let refused = [400, 401, 403, 404, 405, 414, 0].contains(&answer.status)
                        // What lies behind a query or dot segments may be a public page of another address.
                        || is_public(&spelling);
                    assert!(refused, "{method} {spelling} at {base}: {}", answer.head);
                    asked += 1;
                }
            }
        }
        assert!(asked > 800, "only {asked} spellings were tried");
    });
}

/// `/healthz` followed by a query or fragment is the health page and nothing else.
fn is_public(spelling: &str) -> bool {
    spelling == "/healthz" || spelling.starts_with("/healthz?") || spelling.starts_with("/healthz#")
}

#[test]
fn no_spelling_lets_a_person_do_what_administrators_do() {
    coreloop_testkit::run(async {
        let mesh = TOGETHER.get().await;
        let alice = mesh.persona("alice").await;
        for base in [mesh.front(), mesh.gateway()] {
            for (method, path) in [
                ("GET", "/api/v1/auth/admin/invites"),
                ("GET", "/api/v1/auth/admin/login-audits"),
                ("POST", "/api/v1/auth/admin/keys/rotate"),
                ("GET", "/api/v1/metrics"),
            ] {
                for spelling in spellings(path) {
                    let answer = ask(&base, method, &spelling, &alice.access_token).await;
                    assert!(
                        [400, 403, 404, 405, 414, 0].contains(&answer.status),
                        "{method} {spelling} at {base}: {}",
                        answer.head
                    );
                }
            }
        }
        assert!(alice.is_signed_in().await);
    });
}

#[test]
fn the_grpc_path_of_an_rpc_is_decided_the_same_over_any_content_type() {
    coreloop_testkit::run(async {
        let mesh = TOGETHER.get().await;
        let alice = mesh.persona("alice").await;
        let path = "/coreloop.auth.v1.AuthAdminService/ListInvites";
        for base in [mesh.front(), mesh.gateway()] {
            for content_type in [
                "application/grpc",
                "application/grpc+proto",
                "application/grpc-web",
                "application/grpc-web+proto",
                "application/grpc-web-text",
                "Application/GRPC",
                "application/json",
                "application/grpcfoo",
                "text/plain",
            ] {
                let rest = Rest::to(&base).with_token(&alice.access_token);
                let call = rest.call(http::Method::POST, path).header("content-type", content_type).body(vec![0_u8; 5]);
                let Ok(answer) = call.try_send().await else { continue };
                let status = answer.header("grpc-status");
                let refused = [400, 401, 403, 404, 405, 415, 501].contains(&answer.status.as_u16())
                    || ["3", "5", "7", "12", "16"].contains(&status)
                    || answer.text().contains("grpc-status:7")
                    || answer.text().contains("grpc-status: 7");
                assert!(
                    refused || content_type == "application/grpc-web-text",
                    "{content_type} at {base}: {} {:?} {}",
                    answer.status,
                    answer.headers,
                    answer.text()
                );
                assert!(!answer.text().contains("5858"), "an invite code leaked over {content_type}");
            }
        }
    });
}
