//! Spellings of paths: none is admitted that the router would not route.

use coreloop_core::Reason;
use coreloop_transcode::router::{self, Match};
use proptest::prelude::*;

use super::{GET_ME, World};
use crate::{Denied, HeaderView, Picked, Role};

const TRICKS: &[&str] = &[
    "/api/v1/auth/me/",
    "//api/v1/auth/me",
    "/api//v1/auth/me",
    "/api/v1/auth//me",
    "/api/v1/auth/./me",
    "/api/v1/auth/x/../me",
    "/api/v1/auth/%2e/me",
    "/api/v1/auth/x/%2e%2e/me",
    "/api/v1/auth/x/%2E./me",
    "/api/v1/auth%2Fme",
    "/api/v1/auth%2fme",
    "/api/v1/auth/%6de",
    "/%61pi/v1/auth/me",
    "/API/v1/auth/me",
    "/api/v1/auth/ME",
    "/api/v1/auth/me%00",
    "/api/v1/auth/me%20",
    "/api/v1/auth/me;a=b",
    "/api/v1/auth/me:verb",
    "/api/v1/auth\\me",
    "/api/v1/auth/me/extra",
    "api/v1/auth/me",
    "",
    "/",
    "*",
    "http://host/api/v1/auth/me",
    "/api/v1/auth/login/../me",
    "/healthz/../api/v1/auth/me",
    "/healthz/%2e%2e/api/v1/auth/me",
    "/api/v1/health;/../auth/me",
    "/coreloop.auth.v1.AuthService/GetMe",
    "/coreloop.auth.v1.AuthService/getme",
];

#[tokio::test]
async fn tricks_are_denied_with_and_without_a_good_token() {
    let world = World::new();
    let token = world.token(&[Role::Vip]);
    assert_eq!(world.edge("GET", "/api/v1/auth/me", Some(&token)).await, Ok(()));
    assert_eq!(world.edge("GET", "/api/v1/auth/me?x=1&y=%zz", Some(&token)).await, Ok(()));
    assert_eq!(world.edge("GET", "/api/v1/auth/me", None).await, Err(Denied::TokenMissing));
    for path in TRICKS {
        for token in [None, Some(token.as_str())] {
            let denied = world.edge("GET", path, token).await.unwrap_err();
            assert!(matches!(denied.reason(), Reason::RouteNotFound | Reason::MalformedRequest), "{path}: {denied:?}");
        }
    }
}

#[tokio::test]
async fn wrong_methods_and_broken_escapes_are_told_apart() {
    let world = World::new();
    assert!(
        matches!(world.edge("PUT", "/api/v1/auth/me", None).await, Err(Denied::UnknownMethod { allow }) if allow.contains("GET"))
    );
    assert!(world.edge("get", "/api/v1/auth/me", None).await.is_err());
    assert_eq!(world.edge("DELETE", "/api/v1/auth/tokens/%zz", None).await, Err(Denied::MalformedPath));
    assert_eq!(world.edge("GET", &format!("/{}", "a".repeat(9_000)), None).await, Err(Denied::MalformedPath));
}

fn grpc(content_type: &'static str) -> Picked<'static> {
    Picked { content_type: Some(content_type), ..Picked::default() }
}

#[tokio::test]
async fn grpc_goes_by_path_and_only_as_grpc() {
    let world = World::new();
    let decide = async |method: &str, path: &str, content_type: &'static str| {
        super::outcome(world.gate.decide_http(method, path, &HeaderView::Picked(&grpc(content_type))).await)
            .map_err(|denied| denied.reason())
    };
    for content_type in ["application/grpc", "application/grpc+proto", "Application/GRPC-Web+proto"] {
        assert_eq!(decide("POST", GET_ME, content_type).await, Err(Reason::TokenMissing), "{content_type}");
        assert_eq!(decide("POST", "/coreloop.auth.v1.AuthService/Login", content_type).await, Ok(()), "{content_type}");
        for path in [
            "/coreloop.auth.v1.AuthService/login",
            "/coreloop.auth.v1.AuthService//Login",
            "//coreloop.auth.v1.AuthService/Login",
            "/coreloop.auth.v1.AuthService/Login/",
            "/coreloop.auth.v1.AuthService/Login?x=1",
            "/coreloop.auth.v1.AuthService/%4cogin",
            "/coreloop.auth.v1.AuthService/Nothing",
            "/coreloop.nobody.v1.Service/Do",
        ] {
            assert_eq!(decide("POST", path, content_type).await, Err(Reason::RouteNotFound), "{path}");
        }
        assert_eq!(
            decide("POST", "/coreloop.auth.v1.AuthInternalService/MintInternalToken", content_type).await,
            Err(Reason::AccessDenied)
        );
        assert_eq!(
            decide("POST", "/envoy.service.auth.v3.Authorization/Check", content_type).await,
            Err(Reason::AccessDenied)
        );
    }
    assert_eq!(decide("GET", GET_ME, "application/grpc").await, Err(Reason::RouteNotFound));
    assert_eq!(decide("POST", GET_ME, "application/json").await, Err(Reason::RouteNotFound));
}

#[tokio::test]
async fn a_preflight_is_let_through_to_the_edge_for_paths_that_exist() {
    let world = World::new();
    let preflight =
        Picked { origin: Some("https://app.example"), access_control_request_method: Some("GET"), ..Picked::default() };
    let decide = async |path: &str, picked: &Picked<'_>| {
        super::outcome(world.gate.decide_http("OPTIONS", path, &HeaderView::Picked(picked)).await)
    };
    assert_eq!(decide("/api/v1/auth/me", &preflight).await, Ok(()));
    assert_eq!(decide("/api/v1/auth/nothing", &preflight).await, Err(Denied::UnknownPath));
    assert!(decide("/api/v1/auth/me", &Picked { origin: None, ..preflight }).await.is_err());
    assert!(
        decide("/api/v1/auth/me", &Picked { access_control_request_method: Some("PUT"), ..preflight }).await.is_err()
    );
    let grpc_web = Picked { access_control_request_method: Some("POST"), ..preflight };
    assert_eq!(decide(GET_ME, &grpc_web).await, Ok(()));
}

#[tokio::test]
async fn a_token_comes_late_on_a_socket_that_says_so_and_nowhere_else() {
    const SYNC: &str = "/api/realtime/sync";
    let world = World::new();
    let decide = async |method: &str, path: &str, picked: &Picked<'_>| {
        super::outcome(world.gate.decide_http(method, path, &HeaderView::Picked(picked)).await)
    };
    let socket = Picked { upgrade: Some("WebSocket"), ..Picked::default() };
    assert_eq!(decide("GET", SYNC, &socket).await, Ok(()));
    assert_eq!(decide("GET", &format!("{SYNC}?since=1"), &socket).await, Ok(()));
    for upgrade in [None, Some("h2c"), Some(""), Some("websocket, h2c")] {
        let picked = Picked { upgrade, ..socket };
        assert_eq!(decide("GET", SYNC, &picked).await, Err(Denied::TokenMissing), "{upgrade:?}");
    }
    // A token that is there is judged.
    for bad in [&b"Bearer nonsense"[..], b"Bearer", b"Basic YTpi", b"\xff"] {
        let picked = Picked { authorization: Some(bad), ..socket };
        assert!(matches!(decide("GET", SYNC, &picked).await, Err(Denied::TokenInvalid(_))), "{}", bad.escape_ascii());
    }
    let good = format!("Bearer {}", world.token(&[Role::Standard]));
    let twice = Picked { authorization: Some(good.as_bytes()), authorization_twice: true, ..socket };
    assert!(matches!(decide("GET", SYNC, &twice).await, Err(Denied::TokenInvalid(_))));
    // No other path, and no service, knows of it.
    assert_eq!(decide("GET", "/api/v1/auth/me", &socket).await, Err(Denied::TokenMissing));
    assert_eq!(decide("GET", "/api/games/ws", &socket).await, Err(Denied::TokenMissing));
    for from_edge in [true, false] {
        let rpc = "/coreloop.realtime.v1.RealtimeService/Sync";
        let decision = world.gate.decide_rpc(rpc, &HeaderView::Picked(&socket), from_edge).await;
        assert_eq!(super::outcome(decision), Err(Denied::TokenMissing));
    }
}

#[tokio::test]
async fn explain_says_what_decide_does() {
    let world = World::new();
    let token = world.token(&[Role::Standard]);
    let told = world.gate.explain("GET", "/api/v1/auth/me", Some(&token)).await;
    assert_eq!((told.decision, told.rpc.as_deref()), ("allow", Some(GET_ME)));
    assert!(!told.to_string().contains(&token), "the token is not shown");
    let told = world.gate.explain("GET", "/api/v1/auth/me/", Some(&token)).await;
    assert_eq!((told.decision, told.reason.as_deref()), ("deny", Some("ROUTE_NOT_FOUND")));
    let told = world.gate.explain("POST", GET_ME, Some("a.b.c")).await;
    assert_eq!(told.reason.as_deref(), Some("TOKEN_INVALID"));
    assert!(told.to_string().contains("decision  deny (TOKEN_INVALID)"), "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is admitted or asked for a token, the router routes; whatever the router does not route is denied as such.
    #[test]
    fn the_gate_and_the_router_agree(
        base in prop::sample::select(vec!["/api/v1/auth/me", "/api/v1/auth/login", "/healthz", "/api/v1/auth/tokens/abc", "/metrics"]),
        at in 0_usize..40,
        insert in prop::sample::select(vec!["", "/", "//", "%2F", "%2f", ".", "..", "/./", "/../", "%2e", "%2E%2e/", ";", "%00", "\\", "A", "?", "#", "%", " ", ":x"]),
        method in prop::sample::select(vec!["GET", "POST", "DELETE", "HEAD", "OPTIONS", "get"]),
    ) {
        let mut path = base.to_owned();
        path.insert_str(at.min(path.len()), insert);
        let world = &*WORLD;
        let routed = match router::router().find(method, &path) {
            Match::Found { route, .. } => Some(route.rpc_path.clone()),
            _ => None,
        };
        let decision = futures::executor::block_on(world.edge(method, &path, None));
        match decision {
            Ok(()) | Err(Denied::TokenMissing) => prop_assert!(routed.is_some(), "{path}"),
            Err(denied) => prop_assert!(routed.is_none(), "{path}: {denied:?}"),
        }
    }
}

static WORLD: std::sync::LazyLock<World> = std::sync::LazyLock::new(World::new);
