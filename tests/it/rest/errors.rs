//! Bad input of every kind gets its documented error, and nothing else happens.

use coreloop_testkit::{Answer, Persona, TestMesh, raw};
use http::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

struct Bad {
    what: &'static str,
    method: Method,
    path: String,
    content_type: &'static str,
    body: Vec<u8>,
    status: &'static [u16],
    reason: &'static str,
}

fn bad(
    what: &'static str,
    method: Method,
    path: &str,
    body: impl Into<Vec<u8>>,
    status: u16,
    reason: &'static str,
) -> Bad {
    let status = match status {
        400 => &[400][..],
        404 => &[404],
        413 => &[413],
        415 => &[415],
        // Either says it: the target is too long (RFC 9110) or the head is (RFC 6585).
        431 => &[414, 431],
        _ => unreachable!(),
    };
    Bad { what, method, path: path.to_owned(), content_type: "application/json", body: body.into(), status, reason }
}

fn post(what: &'static str, body: impl Into<Vec<u8>>, status: u16, reason: &'static str) -> Bad {
    bad(what, Method::POST, "/api/v1/auth/login", body, status, reason)
}

fn get(what: &'static str, path: &str, status: u16, reason: &'static str) -> Bad {
    bad(what, Method::GET, path, "", status, reason)
}

const MALFORMED: &str = "MALFORMED_REQUEST";
const INVALID: &str = "VALIDATION_FAILED";

fn table() -> Vec<Bad> {
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let tokens = "/api/v1/auth/tokens";
    let mut table = vec![
        post("half an object", "{", 400, MALFORMED),
        post("an array", "[]", 400, INVALID),
        post("a number", "5", 400, INVALID),
        post("a text", "\"x\"", 400, INVALID),
        post("no JSON", "email=alice", 400, MALFORMED),
        post("two objects", "{} {}", 400, MALFORMED),
        post("a trailing comma", "{\"email\":\"a\",}", 400, MALFORMED),
        post("a wrong type", "{\"email\":5}", 400, INVALID),
        post("an object for a text", "{\"email\":{}}", 400, INVALID),
        post("a list for a text", "{\"email\":[\"a\"]}", 400, INVALID),
        post("a lone surrogate", "{\"email\":\"\\ud800\"}", 400, MALFORMED),
        post("no UTF-8", b"{\"email\":\"\xff\xfe\"}".to_vec(), 400, MALFORMED),
        post("deep JSON in a field that nobody knows", deep, 400, INVALID),
        post("deep JSON in a field", format!("{{\"email\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000)), 400, INVALID),
        post("deep JSON that never ends", "[".repeat(60_000), 400, INVALID),
        post("an empty object", "{}", 400, INVALID),
        post("an empty body", "", 400, INVALID),
        post("nulls", "{\"email\":null,\"password\":null}", 400, INVALID),
        post(
            "U+0000 in a text",
            r#"{"email":"a@b.c","password":"12345678","device_id":"0123456789abcdef\u0000"}"#,
            400,
            INVALID,
        ),
        get("U+0000 in a query", &format!("{tokens}?page_token=%00"), 400, INVALID),
        post("too long a password", json!({"email": "a@b.c", "password": "x".repeat(129)}).to_string(), 400, INVALID),
        post("a body too large", format!("{{\"email\":\"{}\"}}", "x".repeat(1024 * 1024)), 413, "BODY_TOO_LARGE"),
        get("a negative page size", &format!("{tokens}?page_size=-1"), 400, INVALID),
        get("too large a page size", &format!("{tokens}?page_size=201"), 400, INVALID),
        get("a page size that is no number", &format!("{tokens}?page_size=ten"), 400, INVALID),
        get("a page size out of range", &format!("{tokens}?page_size=99999999999"), 400, INVALID),
        get("a query scalar twice", &format!("{tokens}?page_size=1&page_size=2"), 400, INVALID),
        get("a query scalar by both names", &format!("{tokens}?page_size=1&pageSize=2"), 400, INVALID),
        get("a bad escape in the query", &format!("{tokens}?page_token=%zz"), 400, INVALID),
        get("no UTF-8 in the query", &format!("{tokens}?page_token=%ff"), 400, INVALID),
        get("a page token of nobody", &format!("{tokens}?page_token=nonsense"), 400, "PAGE_TOKEN_INVALID"),
        bad("a bad escape in the path", Method::DELETE, "/api/v1/auth/tokens/%zz", "", 400, MALFORMED),
        bad("no UTF-8 in the path", Method::DELETE, "/api/v1/auth/tokens/%ff", "", 400, MALFORMED),
        bad("an id that is none", Method::DELETE, "/api/v1/auth/tokens/12", "", 400, INVALID),
        get("an address that is none", "/api/v1/auth/nothing", 404, "ROUTE_NOT_FOUND"),
        get("a long path", &format!("/api/v1/auth/{}", "x".repeat(9 * 1024)), 431, "HEADERS_TOO_LARGE"),
        get("a long query", &format!("{tokens}?page_token={}", "x".repeat(9 * 1024)), 431, "HEADERS_TOO_LARGE"),
    ];
    for content_type in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"]
    {
        let form = post("a body of another type", "{}", 415, "UNSUPPORTED_MEDIA_TYPE");
        table.push(Bad { content_type, ..form });
    }
    table
}

async fn answer(persona: &Persona, base: &str, bad: &Bad) -> Answer {
    let call = persona.at(base).call(bad.method.clone(), &bad.path).body(bad.body.clone());
    let call = if bad.body.is_empty() { call } else { call.header("content-type", bad.content_type) };
    call.send().await
}

/// The shape of every error: `google.rpc.Status` with an ErrorInfo, nothing of ours inside.
fn assert_shape(what: &str, answer: &Answer) {
    assert!(answer.header("content-type").starts_with("application/json"), "{what}: {:?}", answer.headers);
    let body = answer.json();
    let mut keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["code", "details", "message"], "{what}: {body}");
    assert!(body["code"].as_u64().unwrap() > 0, "{what}");
    let info = answer.detail("google.rpc.ErrorInfo").unwrap_or_else(|| panic!("{what}: {body}"));
    assert!(info["domain"] == "coreloop" || info["domain"] == "auth", "{what}: {info}");
    assert!(!answer.header("x-request-id").is_empty(), "{what}: no request id");
    for inside in ["panicked", "src/", ".rs:", "sqlx", "redis", "127.0.0.1", "postgres", "serde", "stack", "tonic"] {
        assert!(!body.to_string().to_lowercase().contains(inside), "{what} tells of our inside ({inside}): {body}");
    }
}

/// What a table's row got wrong, if anything.
fn wrong(bad: &Bad, answer: &Answer) -> Option<String> {
    let right = bad.status.contains(&answer.status.as_u16()) && answer.reason() == bad.reason;
    (!right).then(|| {
        format!("{}: expected {:?} {}, got {} {}", bad.what, bad.status, bad.reason, answer.status, answer.text())
    })
}

async fn every_bad_input(mesh: &TestMesh, base: &str) {
    let mut all = Vec::new();
    for bad in table() {
        // Each from an address of its own, so that no limit answers instead.
        let mut persona = mesh.persona("eve").await;
        persona.visitor = persona.visitor.elsewhere();
        let answer = answer(&persona, base, &bad).await;
        all.extend(wrong(&bad, &answer));
        assert_shape(bad.what, &answer);
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

in_both_topologies! {
    async fn every_bad_input_has_its_error_at_the_gateway(mesh) {
        every_bad_input(mesh, &mesh.gateway()).await;
    }

    async fn bad_input_has_its_error_through_envoy(mesh) {
        // Envoy itself answers what is too long; all else must read the same as at the gateway.
        let mut all = Vec::new();
        for bad in table().iter().filter(|bad| !bad.status.contains(&431)) {
            let mut persona = mesh.persona("eve").await;
            persona.visitor = persona.visitor.elsewhere();
            let answer = answer(&persona, &mesh.front(), bad).await;
            all.extend(wrong(bad, &answer));
            assert_shape(bad.what, &answer);
        }
        assert!(all.is_empty(), "{}", all.join("\n"));
    }

    async fn odd_texts_are_kept_or_refused_and_never_break_anything(mesh) {
        for nickname in ["a\u{0}b", "\u{0}", "\u{202e}evil", "😀😀😀", "한국어 이름", "'; drop table auth.users; --", "\u{feff}x", "a\nb"] {
            let visitor = mesh.visitor("odd");
            let mut body = visitor.sign_up_body();
            body["nickname"] = json!(nickname);
            let answer = visitor.post("/api/v1/auth/signup", &body).await;
            match answer.status.as_u16() {
                201 => {
                    let kept: String = nickname.chars().filter(|letter| !letter.is_control()).collect();
                    let said = answer.json()["user"]["nickname"].clone();
                    assert!(said == nickname || said == kept.as_str(), "{nickname:?} became {said}");
                }
                400 => assert_shape(nickname, &answer),
                other => panic!("{nickname:?}: {other} {}", answer.text()),
            }
        }
    }

    async fn server_only_values_in_a_body_change_nothing(mesh) {
        let visitor = mesh.visitor("eve");
        let mut body = visitor.sign_up_body();
        let wishes = json!({"roles": ["ROLE_ADMIN"], "user": {"roles": ["ROLE_ADMIN"]}, "email_verified": true, "age_verified": true,
                            "id": "0192f0c4-7f5e-7000-8000-000000000000", "status": 3, "user_id": "x"});
        body.as_object_mut().unwrap().extend(wishes.as_object().unwrap().clone());
        let session = visitor.post("/api/v1/auth/signup", &body).await.expect(201);
        assert_eq!(session["user"]["roles"], json!(["ROLE_STANDARD"]));
        assert_eq!(session["user"]["email_verified"], false);
        assert_eq!(session["user"]["age_verified"], false);
        assert_ne!(session["user"]["id"], "0192f0c4-7f5e-7000-8000-000000000000");
    }

    async fn roles_that_are_none_are_refused(mesh) {
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        let path = format!("/api/v1/auth/admin/users/{}/roles", alice.user_id);
        for (roles, reason) in [
            (json!(["ROLE_KING"]), INVALID),
            (json!([99]), INVALID),
            (json!(["ROLE_UNSPECIFIED"]), INVALID),
            (json!([0]), INVALID),
            (json!("ROLE_VIP"), INVALID),
        ] {
            let answer = admin.call(Method::PUT, &path).json(&json!({"roles": roles})).send().await;
            answer.refused(400, reason);
        }
        assert!(alice.is_signed_in().await, "nothing was changed");
    }
}

#[test]
fn broken_http_is_refused_and_the_next_request_is_served() {
    coreloop_testkit::run(async {
        let mesh = crate::meshes::TOGETHER.get().await;
        for base in [mesh.front(), mesh.gateway()] {
            let address = base.strip_prefix("http://").unwrap();
            for request in [
                "GET / HTTP/1.1\r\n\r\n",
                "NONSENSE\r\n\r\n",
                "GET /healthz HTTP/9.9\r\nhost: a\r\n\r\n",
                "POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}   ",
                "POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                "POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
                "GET /healthz HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n",
                "GET /healthz HTTP/1.1\r\nhost: a\r\nx: \u{1}\r\n\r\n",
            ] {
                let answer = raw::send(address, request.as_bytes()).await;
                assert!(
                    answer.status == 0 || (400..=505).contains(&answer.status),
                    "{request:?} at {base}: {}",
                    answer.head
                );
                assert_ne!(answer.status, 500, "{request:?}");
            }
            let huge = format!(
                "GET /healthz HTTP/1.1\r\nhost: a\r\nx-huge: {}\r\nconnection: close\r\n\r\n",
                "x".repeat(128 * 1024)
            );
            let answer = raw::send(address, huge.as_bytes()).await;
            assert!([0, 400, 431].contains(&answer.status), "{}", answer.head);
            assert_eq!(coreloop_testkit::Rest::to(&base).get("/healthz").send().await.status, 200);
        }
    });
}

/// Whoever still writes would find the connection reset, and perhaps never the answer.
#[test]
fn who_sends_too_much_may_end_before_reading_the_answer() {
    coreloop_testkit::run(async {
        let mesh = crate::meshes::TOGETHER.get().await;
        let address = mesh.gateway().trim_start_matches("http://").to_owned();
        for (path, length, status) in [("/api/v1/auth/login", 400_000, "413"), ("/nowhere", 400_000, "404")] {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&vec![b' '; 1_000]).await.unwrap();
            // The answer is here, and not read.
            stream.peek(&mut [0]).await.unwrap();
            for piece in vec![b' '; length - 1_000].chunks(20_000) {
                stream.write_all(piece).await.unwrap();
            }
            let mut answer = vec![0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"), "{path}");
        }
    });
}

#[test]
fn an_error_names_its_violations_once_each() {
    coreloop_testkit::run(async {
        let mesh = crate::meshes::TOGETHER.get().await;
        let answer =
            mesh.visitor("eve").post("/api/v1/auth/signup", &json!({"nickname": "n", "password": "12345678"})).await;
        answer.refused(400, INVALID);
        let violations: Value = answer.detail("google.rpc.BadRequest").unwrap();
        assert!(
            violations.to_string().contains("email") && !violations.to_string().contains("12345678"),
            "{violations}"
        );
    });
}
