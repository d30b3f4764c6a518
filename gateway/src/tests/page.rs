//! Calls from web pages (CORS).

use axum::body::Body;
use http::Request;

use super::ground::{Answer, Scene, ok, thing};
use crate::{Cors, Options};

fn scene(origins: &[&str], credentials: bool) -> Scene {
    let origins = origins.iter().map(|&origin| origin.to_owned()).collect();
    Scene::with(Options { cors: Cors { origins, credentials, ..Cors::default() }, ..Options::default() })
}

async fn preflight(scene: &Scene, origin: &str) -> Answer {
    let request = Request::options("/probe/a")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization, x-grpc-web")
        .body(Body::empty());
    scene.ask(request.unwrap()).await
}

#[tokio::test]
async fn only_listed_origins_are_admitted() {
    let scene = scene(&["https://app.example.com"], true);
    let yes = preflight(&scene, "https://app.example.com").await;
    assert_eq!(yes.status, 204);
    assert_eq!(yes.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(yes.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(yes.header("access-control-allow-headers"), Some("authorization, x-grpc-web"));
    for stranger in ["https://evil.example.com", "http://app.example.com", "https://app.example.com.evil.com", "null"] {
        let no = preflight(&scene, stranger).await;
        assert_eq!((no.status.as_u16(), no.header("access-control-allow-origin")), (204, None), "{stranger}");
    }
    assert_eq!(scene.peer.calls(), 0);
}

#[tokio::test]
async fn no_page_is_admitted_by_default() {
    let scene = Scene::new();
    assert_eq!(preflight(&scene, "https://app.example.com").await.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn an_admitted_page_may_read_the_reply_also_a_failed_one() {
    let scene = scene(&["*"], false);
    scene.peer.answers(vec![thing("a", 1), ok()]);
    for path in ["/probe/a", "/nothing"] {
        let answer = scene.ask(Request::get(path).header("origin", "https://x.y").body(Body::empty()).unwrap()).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        assert!(answer.header("access-control-expose-headers").unwrap().contains("grpc-status"));
        assert!(answer.headers.get_all("vary").iter().any(|vary| vary == "origin"));
    }
}

#[tokio::test]
async fn a_reply_that_depends_on_the_origin_says_so_to_everybody() {
    let scene = scene(&["https://app.example.com"], false);
    for origin in [None, Some("https://app.example.com"), Some("https://evil.example.com")] {
        for path in ["/probe/a", "/nothing"] {
            scene.peer.answers(vec![thing("a", 1), ok()]);
            let mut request = Request::get(path).body(Body::empty()).unwrap();
            request.headers_mut().extend(origin.map(|origin| (http::header::ORIGIN, origin.parse().unwrap())));
            let answer = scene.ask(request).await;
            let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
            assert_eq!(vary, ["origin"], "{path} {origin:?}");
        }
    }
    assert_eq!(Scene::new().get("/nothing").await.header("vary"), None, "nothing varies where no page is admitted");
}
